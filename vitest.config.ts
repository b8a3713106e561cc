import { defineConfig } from "vitest/config"
import { writeDocExamples } from "./test/docExamples.ts"

writeDocExamples()

const load = "test/**/*.load.test.ts"
/** Tests that start processes or open sockets, and look at the clock on the wall. */
const real = [
  "test/examples/**/*.test.ts",
  "test/http/**/*.test.ts",
  "test/issues/redis/**/*.test.ts",
  "test/redis/**/*.test.ts",
  "test/testing/**/*.test.ts"
]

export default defineConfig({
  test: {
    globalSetup: "test/setup/programs.ts",
    projects: [
      {
        test: {
          name: "rules",
          include: ["test/**/*.test.ts"],
          exclude: [load, ...real],
          // Nothing here is bound to what another file left behind, and loading Effect anew for each takes longer.
          isolate: false,
          sequence: { groupOrder: 0 }
        }
      },
      {
        // One file at a time, after the others: a machine that is busy with itself is no news.
        test: {
          name: "real",
          include: real,
          exclude: [load],
          fileParallelism: false,
          sequence: { groupOrder: 1 }
        }
      }
    ]
  }
})
