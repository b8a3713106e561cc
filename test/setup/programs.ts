/**
 * Makes sure that the programs are there which the tests start: none is ever skipped for want of one.
 *
 * A Redis for what speaks to one, and curl for the commands that `start` prints.
 */
import { spawnSync } from "node:child_process"
import { existsSync, rmSync, writeFileSync } from "node:fs"
import { findBinary } from "../../packages/testing/src/internal/binary.ts"

/** Debian's packages that are wanted, by whether their program can be found. */
const absent = (): ReadonlyArray<string> => [
  ...(findBinary() === undefined ? ["redis-server"] : []),
  ...(spawnSync("curl", ["--version"]).status === 0 ? [] : ["curl"])
]

const missing = (packages: ReadonlyArray<string>): string => {
  const install = `apt-get update && apt-get install --yes ${packages.join(" ")}`
  const command = process.getuid?.() === 0 ? install : `sudo sh -c '${install}'`
  return `The tests need ${packages.join(" and ")}. Install with: ${command}`
}

/** Debian asks this before it starts the service of a package that it has just installed; 101 says no. */
const policy = "/usr/sbin/policy-rc.d"

const aptGet = (packages: ReadonlyArray<string>, ...args: ReadonlyArray<string>): void => {
  const options = ["--quiet", "--option", "DPkg::Lock::Timeout=120", ...args]
  const { status, stdout, stderr, error } = spawnSync("apt-get", options, {
    encoding: "utf8",
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    timeout: 300_000
  })
  if (status === 0) return
  const said = [error?.message, stdout, stderr].filter((text) => text).join("\n")
  throw new Error(`${missing(packages)}\n\napt-get ${args.join(" ")}\n${said}`)
}

/** The tests start servers of their own, so the service of a package must not stay behind on the usual port. */
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
  const wanted = absent()
  if (wanted.length === 0) return
  if (process.getuid?.() !== 0 || !existsSync("/usr/bin/apt-get")) throw new Error(missing(wanted))
  console.log(`Installing what the tests start and what is not on the PATH: ${wanted.join(", ")}`)
  aptGet(wanted, "update")
  withoutService(() => aptGet(wanted, "install", "--yes", ...wanted))
  if (absent().length > 0) throw new Error(missing(absent()))
}
