import { defineConfig } from "vitest/config"

// A load test measures the whole machine, so one file runs at a time and none is cut short.
export default defineConfig({
  test: {
    include: ["test/**/*.load.test.ts"],
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 60_000
  }
})
