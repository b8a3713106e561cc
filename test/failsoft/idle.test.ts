/** Nothing is scheduled while no call is in flight: a program that has made policies and calls no more ends by itself. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { fileURLToPath } from "node:url"
import { expect, it } from "vitest"

const program = fileURLToPath(new URL("fixtures/idle.ts", import.meta.url))

/** Starts the program, and waits for what it says of the timers that are left. */
const play = async (...args: ReadonlyArray<string>) => {
  const child = spawn(process.execPath, [program, ...args], { stdio: ["ignore", "pipe", "inherit"] })
  const ended = once(child, "close")
  const [printed] = await once(child.stdout, "data")
  return { child, ended, left: JSON.parse(String(printed)) as unknown }
}

const quiet = {
  "a circuit that is closed": [],
  "a circuit that is open, after rejections": [],
  "a circuit that is due, which nobody asked": [],
  "a call that was interrupted": []
}

it.concurrent("a program that calls no more has no timer left, and ends by itself", async () => {
  const { ended, left } = await play()
  expect(left).toEqual(quiet)
  // All that it might wait for takes an hour.
  expect(await ended).toEqual([0, null])
}, 30_000)

it.concurrent("a call in flight has a timer, and keeps its program from ending", async () => {
  const { child, ended, left } = await play("busy")
  expect(left).toEqual({ ...quiet, "a call in flight": ["Timeout"] })
  child.kill("SIGKILL")
  expect(await ended).toEqual([null, "SIGKILL"])
}, 30_000)
