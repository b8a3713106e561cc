/**
 * Load from an open loop: each request starts on its tick, whether or not earlier ones have ended, and its time is
 * counted from that tick. So a server that stalls cannot slow down the measure of its stalling.
 */
import { request } from "node:http"

/** What to send. */
export interface Request {
  readonly method: string
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
}

/** What became of a request: its status, or that it was not answered by its deadline, or not at all. */
export interface Shot {
  readonly route: string
  readonly result: number | "late" | "broken"
  /** From its tick to the last byte of the answer. */
  readonly millis: number
  /** How much later than its tick it was started. */
  readonly lagMillis: number
}

export interface Load {
  readonly perSecond: number
  readonly seconds: number
  readonly deadlineMillis: number
}

/** The next request and the name of its route. */
export type Next = (index: number) => readonly [route: string, request: Request]

/** Sends each request to every target at the same tick; resolves when the last of them has ended. */
export const fire = async (
  { deadlineMillis, perSecond, seconds }: Load,
  targets: ReadonlyArray<{ readonly port: number; readonly next: Next }>
): Promise<ReadonlyArray<ReadonlyArray<Shot>>> => {
  const shots = targets.map((): Array<Promise<Shot>> => [])
  const from = performance.now()
  let index = 0
  await new Promise<void>((resolve) => {
    const timer = setInterval(() => {
      for (; index < perSecond * seconds; index++) {
        const tick = from + (index * 1000) / perSecond
        if (performance.now() < tick) return
        for (const [target, { next, port }] of targets.entries()) {
          const [route, wanted] = next(index)
          const shot = send({ port, wanted, tick, deadlineMillis })
          shots[target]?.push(shot.then((ended) => ({ route, ...ended })))
        }
      }
      clearInterval(timer)
      resolve()
    }, 1)
  })
  return Promise.all(shots.map((ofTarget) => Promise.all(ofTarget)))
}

const send = ({
  deadlineMillis,
  port,
  tick,
  wanted: { body, ...wanted }
}: {
  readonly port: number
  readonly wanted: Request
  readonly tick: number
  readonly deadlineMillis: number
}): Promise<Omit<Shot, "route">> =>
  new Promise((resolve) => {
    const lagMillis = performance.now() - tick
    const end = (result: Shot["result"]): void => {
      clearTimeout(timer)
      resolve({ result, millis: performance.now() - tick, lagMillis })
    }
    // A connection of its own: one that is reused may be closed by the server just as the request is sent.
    const sent = request({ ...wanted, host: "127.0.0.1", port, agent: false })
    const timer = setTimeout(() => {
      end("late")
      sent.destroy()
    }, deadlineMillis - lagMillis)
    sent.on("error", () => end("broken"))
    sent.on("response", (response) => {
      response.on("error", () => end("broken"))
      response.on("end", () => end(response.statusCode ?? "broken"))
      response.resume()
    })
    sent.end(body)
  })

/** The value below which a share of the values lies. */
export const percentile = (values: ReadonlyArray<number>, share: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ??
  Number.NaN
