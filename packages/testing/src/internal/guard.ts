import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtemp } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** A scratch folder, and a shell that cleans up however this process ends. */
export interface Guard {
  readonly folder: string
  /** Names the process group to kill, or nothing any more. */
  readonly watch: (pid: number | undefined) => void
}

/** The scratch folder or its shell could not be made. */
export class NoGuard extends Data.TaggedError("NoGuard")<{ readonly cause: unknown }> {}

// Its standard input ends when this process closes it or dies, by whatever signal. The last line read says whom to kill.
const script = `
pid=
while read -r line; do pid=$line; done
[ -z "$pid" ] || kill -KILL "-$pid"
rm -rf "$1"
`

const start = async () => {
  const folder = await mkdtemp(join(tmpdir(), "failsoft-redis-"))
  // In a session of its own, so that Ctrl-C does not end it before it has cleaned up.
  const shell = spawn("/bin/sh", ["-c", script, "sh", folder], {
    cwd: "/",
    detached: true,
    stdio: ["pipe", "ignore", "ignore"]
  })
  await once(shell, "spawn")
  const exited = once(shell, "exit")
  shell.stdin.on("error", () => {})
  return {
    folder,
    watch: (pid: number | undefined) => void shell.stdin.write(`${pid ?? ""}\n`),
    end: async () => {
      shell.stdin.end()
      await exited
    }
  }
}

/** The folder is gone, and so is what was watched, once the scope has closed. */
export const make: Effect.Effect<Guard, NoGuard, Scope.Scope> = Effect.acquireRelease(
  Effect.tryPromise({ try: start, catch: (cause) => new NoGuard({ cause }) }),
  ({ end }) => Effect.promise(end)
)
