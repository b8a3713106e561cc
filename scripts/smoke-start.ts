/**
 * `pnpm start` comes up, answers, and leaves no process behind when it is asked to end.
 *
 * Its descendants inherit a mark in their environment, which finds those that left its process group as well. Reading
 * the mark takes Linux.
 */
import { spawn } from "node:child_process"
import { randomUUID } from "node:crypto"
import { globSync, readFileSync } from "node:fs"
import { basename } from "node:path"
import { setTimeout } from "node:timers/promises"
import { root } from "./run.ts"

const mark = randomUUID()

const start = spawn("pnpm", ["start"], {
  cwd: root,
  detached: true,
  env: { ...process.env, SMOKE_START: mark },
  stdio: ["ignore", "pipe", "inherit"]
})

let printed = ""
start.stdout.setEncoding("utf8").on("data", (text: string) => {
  process.stdout.write(text)
  printed += text
})

const running = (): ReadonlyArray<{ readonly pid: number; readonly command: string }> =>
  globSync("/proc/[0-9]*").flatMap((folder) => {
    try {
      if (!readFileSync(`${folder}/environ`, "latin1").includes(`SMOKE_START=${mark}`)) return []
      const command = readFileSync(`${folder}/cmdline`, "latin1").replaceAll("\0", " ").trim()
      return [{ pid: Number(basename(folder)), command }]
    } catch {
      return [] // It ended meanwhile, or belongs to somebody else.
    }
  })

const waitFor = async <A>(seconds: number, poll: () => A | undefined, late: () => string): Promise<A> => {
  for (let left = seconds * 20; left > 0; left--) {
    const found = poll()
    if (found !== undefined) return found
    await setTimeout(50)
  }
  throw new Error(`${late()} after ${seconds} s`)
}

const addressPrinted = (): string | undefined => {
  if (start.exitCode !== null) throw new Error(`pnpm start ended with exit code ${start.exitCode}`)
  return /http:\/\/127\.0\.0\.1:\d+/.exec(printed)?.[0]
}

try {
  const address = await waitFor(120, addressPrinted, () => "pnpm start has printed no address")
  const { status } = await fetch(`${address}/livez`)
  if (status !== 200) throw new Error(`${address}/livez answered ${status}`)
  start.kill("SIGTERM")
  await waitFor(
    10,
    () => (running().length === 0 ? true : undefined),
    () =>
      `SIGTERM has left\n${running()
        .map(({ pid, command }) => `  ${pid} ${command}`)
        .join("\n")}\n`
  )
  console.log("✓ pnpm start came up, answered and ended with all its processes")
} catch (error) {
  console.error(`✗ ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
} finally {
  for (const { pid } of running()) {
    try {
      process.kill(pid, "SIGKILL")
    } catch {
      // It has ended by itself.
    }
  }
}
