import { spawnSync } from "node:child_process"
import { join } from "node:path"

/** The top folder of the repository. */
export const root = join(import.meta.dirname, "..")

/** Runs a command to its end and returns what it printed; a failure throws with all of its output. */
export const run = (folder: string, command: string, ...args: ReadonlyArray<string>): string => {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    cwd: folder,
    encoding: "utf8",
    maxBuffer: 2 ** 26,
    stdio: ["ignore", "pipe", "pipe"]
  })
  if (error !== undefined) throw error
  if (status !== 0) throw new Error(`${command} ${args.join(" ")}\n${stdout}${stderr}`)
  return stdout
}
