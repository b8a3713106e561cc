import { defineConfig } from "vitest/config"
import { writeDocExamples } from "./test/docExamples.ts"

writeDocExamples()

export default defineConfig({
  test: {
    globalSetup: "test/setup/redis.ts",
    include: ["test/**/*.test.ts"],
    exclude: ["test/**/*.load.test.ts"]
  }
})
