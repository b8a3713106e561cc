/**
 * Makes sure that there is a Redis before any test runs: none is ever skipped for want of one.
 */
import { spawnSync } from "node:child_process"
import { existsSync, rmSync, writeFileSync } from "node:fs"
import { findBinary, missing } from "../../packages/testing/src/internal/binary.ts"

/** Debian asks this before it starts the service of a package that it has just installed; 101 says no. */
const policy = "/usr/sbin/policy-rc.d"

const run = (command: string, ...args: ReadonlyArray<string>): void => {
  const { status, stdout, stderr, error } = spawnSync(command, args, {
    encoding: "utf8",
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    timeout: 300_000
  })
  if (status === 0) return
  const said = [error?.message, stdout, stderr].filter((text) => text).join("\n")
  throw new Error(`${missing()}\n\n${command} ${args.join(" ")}\n${said}`)
}

const aptGet = (...args: ReadonlyArray<string>): void =>
  run("apt-get", "--quiet", "--option", "DPkg::Lock::Timeout=120", ...args)

/** The tests start servers of their own, so the service of the package must not stay behind on the usual port. */
const withoutService = (install: () => void): void => {
  if (existsSync(policy)) {
    // Somebody else's answer, which may be yes.
    install()
    spawnSync("service", ["redis-server", "stop"])
    return
  }
  writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 })
  try {
    install()
  } finally {
    rmSync(policy)
  }
}

export default (): void => {
  if (findBinary() !== undefined) return
  if (process.getuid?.() !== 0 || !existsSync("/usr/bin/apt-get")) throw new Error(missing())
  console.log("There is no Redis on the PATH; installing the package redis-server")
  aptGet("update")
  withoutService(() => aptGet("install", "--yes", "redis-server"))
  if (findBinary() === undefined) throw new Error(missing())
}
