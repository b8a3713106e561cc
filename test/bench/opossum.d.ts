/** As much of opossum, which ships no types, as the benchmark uses. */
declare module "opossum" {
  interface Options {
    readonly timeout: number | false
    readonly errorThresholdPercentage: number
    readonly volumeThreshold: number
    readonly resetTimeout: number
  }

  export default class CircuitBreaker<A> {
    constructor(action: () => Promise<A>, options: Options)
    fire(): Promise<A>
  }
}
