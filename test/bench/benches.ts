import { type Bench, core } from "./core.ts"

/** The benches by the name that `pnpm bench` takes. */
export const benches: Readonly<Record<string, Bench>> = { core }
