/** Where a measurement was taken: without it, its numbers mean nothing. */
import { readFileSync } from "node:fs"
import { availableParallelism, cpus, loadavg, release, totalmem, type } from "node:os"
import { join } from "node:path"

const root = join(import.meta.dirname, "../..")

const versionOf = (folder: string): string => {
  const manifest: unknown = JSON.parse(readFileSync(join(root, folder, "package.json"), "utf8"))
  return typeof manifest === "object" && manifest !== null && "version" in manifest
    ? String(manifest.version)
    : "?"
}

/** One-minute load average: how much else the machine had to do. */
export const load = (): number => loadavg()[0] ?? 0

/** What stays the same while measuring. */
export const machine = () => ({
  date: new Date().toISOString(),
  cpu: cpus()[0]?.model ?? "unknown",
  cores: availableParallelism(),
  memoryGiB: Math.round(totalmem() / 2 ** 30),
  system: `${type()} ${release()}`,
  node: process.versions.node,
  v8: process.versions.v8,
  packages: {
    failsoft: versionOf("packages/failsoft"),
    effect: versionOf("node_modules/effect"),
    cockatiel: versionOf("node_modules/cockatiel"),
    opossum: versionOf("node_modules/opossum"),
    ioredis: versionOf("packages/redis/node_modules/ioredis"),
    "node-redis": versionOf("node_modules/redis")
  }
})
