import { defineConfig } from "vitest/config"
import { writeDocExamples } from "./test/docExamples.ts"

writeDocExamples()

const load = "test/**/*.load.test.ts"
/** Tests that open sockets or start a Redis, and look at the clock on the wall. */
const real = [
  "test/examples/**/*.test.ts",
  "test/http/**/*.test.ts",
  "test/issues/redis/**/*.test.ts",
  "test/redis/**/*.test.ts",
  "test/testing/**/*.test.ts"
]
/** Those of them that fill the machine with processes, and one that measures how much comes through in a second. */
const alone = [
  "test/examples/processes.test.ts",
  "test/examples/redis.startup.test.ts",
  "test/examples/settings.test.ts",
  "test/examples/start.test.ts",
  "test/redis/recovery.test.ts"
]

// Nothing is bound to what another file left behind, and loading Effect anew for each takes longer than most of them.
const isolate = false

export default defineConfig({
  test: {
    globalSetup: "test/setup/programs.ts",
    projects: [
      {
        test: {
          name: "rules",
          include: ["test/**/*.test.ts"],
          exclude: [load, ...real],
          isolate,
          // Their time is their own, so the limit is only for what hangs, on a machine that is busy with other things.
          testTimeout: 30_000,
          // By itself vitest would leave a core of two to its main process, which has little to do.
          maxWorkers: 2,
          sequence: { groupOrder: 0 }
        }
      },
      {
        // They wait more than they work, so that even two cores are enough for two at a time.
        test: {
          name: "real",
          include: real,
          exclude: [load, ...alone],
          isolate,
          maxWorkers: 2,
          sequence: { groupOrder: 1 }
        }
      },
      {
        // One file at a time, after the others: a machine that is busy with itself is no news.
        test: {
          name: "alone",
          include: alone,
          isolate,
          fileParallelism: false,
          sequence: { groupOrder: 2 }
        }
      }
    ]
  }
})
