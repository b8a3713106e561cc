import { Duration, Schema } from "effect"
import { PolicyConfig } from "failsoft"
import { describe, expect, it } from "vitest"

const decode = Schema.decodeUnknownSync(PolicyConfig.PolicyConfig)
const encode = Schema.encodeSync(PolicyConfig.PolicyConfig)

const problemOf = (row: unknown): string => {
  try {
    decode(row)
  } catch (error) {
    return String(error)
  }
  return "none"
}

const everything = {
  enabled: true,
  deadline: "8 seconds",
  attemptTimeout: 5,
  retry: {
    enabled: true,
    attempts: 2,
    base: 1,
    factor: 3,
    cap: "30 seconds",
    jitter: "equal",
    maxRetryAfter: 60
  },
  breaker: {
    enabled: true,
    failures: 10,
    failureRate: 0.5,
    slowCallRate: 0.8,
    slowerThan: "2 seconds",
    minimumCalls: 20,
    windowDuration: 60,
    openDuration: 30,
    maxOpenDuration: "5 minutes",
    probes: 2,
    successes: 1,
    maxWait: "500 millis",
    rampDuration: 30,
    rampFrom: 0.2
  }
}

const decoded: PolicyConfig.PolicyConfig = {
  enabled: true,
  deadline: Duration.seconds(8),
  attemptTimeout: Duration.seconds(5),
  retry: {
    enabled: true,
    attempts: 2,
    base: Duration.seconds(1),
    factor: 3,
    cap: Duration.seconds(30),
    jitter: "equal",
    maxRetryAfter: Duration.seconds(60)
  },
  breaker: {
    enabled: true,
    failures: 10,
    failureRate: 0.5,
    slowCallRate: 0.8,
    slowerThan: Duration.seconds(2),
    minimumCalls: 20,
    windowDuration: Duration.seconds(60),
    openDuration: Duration.seconds(30),
    maxOpenDuration: Duration.minutes(5),
    probes: 2,
    successes: 1,
    maxWait: Duration.millis(500),
    rampDuration: Duration.seconds(30),
    rampFrom: 0.2
  }
}

describe("a row", () => {
  it("holds every stage and option", () => {
    expect(decode(everything)).toEqual(decoded)
  })

  it("may be text throughout, as in the environment", () => {
    const text = JSON.parse(JSON.stringify(everything), (_, value: unknown) =>
      typeof value === "object" ? value : String(value)
    )
    expect(decode(text)).toEqual(decoded)
  })

  it("may leave out everything", () => {
    expect(decode({})).toEqual({})
    expect(decode({ retry: {}, breaker: {} })).toEqual({ retry: {}, breaker: {} })
  })

  it("comes back from what it is written as", () => {
    expect(decode(JSON.parse(JSON.stringify(encode(decoded))))).toEqual(decoded)
  })
})

describe("a row that cannot be read", () => {
  it.each<[unknown, ReadonlyArray<string>, string]>([
    [{ deadline: "soon" }, ["deadline"], `"soon"`],
    [{ attemptTimeout: -5 }, ["attemptTimeout"], "-5"],
    [{ attemptTimeout: null }, ["attemptTimeout"], "Expected string | number | boolean"],
    [{ enabled: "maybe" }, ["enabled"], `"maybe"`],
    [{ retry: { attempts: "many" } }, ["retry", "attempts"], `"many"`],
    [{ retry: { jitter: "some" } }, ["retry", "jitter"], `"some"`],
    [{ breaker: { openDuration: "1 fortnight" } }, ["breaker", "openDuration"], `"1 fortnight"`],
    [{ breaker: { failures: "" } }, ["breaker", "failures"], `""`]
  ])("is refused: %j", (row, path, found) => {
    const problem = problemOf(row)
    expect(problem).toContain(path.map((name) => JSON.stringify([name])).join(""))
    expect(problem).toContain(found)
  })

  it.each([7, "billing", null, []])("is refused when it is %j", (row) => {
    expect(problemOf(row)).not.toBe("none")
  })
})

describe("a duration", () => {
  const read = Schema.decodeUnknownSync(PolicyConfig.ConfigDuration)

  it.each<[string | number, Duration.Duration]>([
    [5, Duration.seconds(5)],
    ["5", Duration.seconds(5)],
    [" 5 ", Duration.seconds(5)],
    [0.5, Duration.millis(500)],
    ["2.5", Duration.millis(2500)],
    ["500 millis", Duration.millis(500)],
    ["1 second", Duration.seconds(1)],
    ["90 seconds", Duration.seconds(90)],
    ["2 minutes", Duration.minutes(2)],
    ["1 hour", Duration.hours(1)],
    ["1 day", Duration.days(1)],
    ["10 micros", Duration.micros(10n)],
    ["10 nanos", Duration.nanos(10n)]
  ])("is read from %j", (input, duration) => {
    expect(Duration.toNanosUnsafe(read(input))).toBe(Duration.toNanosUnsafe(duration))
  })

  it.each(["", "5s", "-1", "1 fortnight", "5 seconds ago", "Infinity", "NaN", Number.NaN, true, {}, [5]])(
    "is not read from %j",
    (input) => {
      expect(() => read(input)).toThrow()
    }
  )
})
