/**
 * One stand-in upstream as a process: `node main.ts <name> --port N --control-port N [--host H]`.
 *
 * Port 0, the default, is any free one. It tells its parent over IPC that it is ready; without a parent it
 * prints one line. It keeps nothing, so it ends at once when its parent goes away, on SIGTERM and on SIGINT.
 */
import { parseArgs } from "node:util"
import * as Parent from "../Parent.ts"
import * as Upstream from "./Upstream.ts"
import { upstreams } from "./Upstreams.ts"

const end = (): never => process.exit(0)
process.once("SIGTERM", end)
process.once("SIGINT", end)
Parent.whenGone(end)

const portFrom = (option: string, text: string): number => {
  const port = Number(text)
  if (/^\d+$/.test(text) && port <= 65_535) return port
  throw new Error(`--${option} is ${JSON.stringify(text)}; allowed: a whole number from 0 to 65535`)
}

try {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      port: { type: "string", default: "0" },
      "control-port": { type: "string", default: "0" },
      host: { type: "string", default: "127.0.0.1" }
    }
  })
  const [name, ...others] = positionals
  const definition = upstreams.find((upstream) => upstream.name === name)
  if (definition === undefined || others.length > 0) {
    const allowed = upstreams.map((upstream) => upstream.name).join(", ")
    throw new Error(`unknown upstream ${JSON.stringify(positionals.join(" "))}; allowed: ${allowed}`)
  }
  const { port, controlPort } = await Upstream.start(definition, {
    port: portFrom("port", values.port),
    controlPort: portFrom("control-port", values["control-port"]),
    host: values.host
  })
  if (Parent.isPresent) Parent.ready({ port, controlPort })
  else console.log(`${name} listens on ${values.host} port ${port}, its switch on port ${controlPort}`)
} catch (error) {
  process.stderr.write(`${error instanceof Error ? error.message : error}\n`, () => process.exit(1))
}
