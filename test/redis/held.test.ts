/**
 * What is held of a Redis that is away, against models of what there was: random histories of commands that were answered,
 * of writes that were not, of time that passed, and of other processes. The server is a `MemoryStore`, which answers as
 * Redis does.
 */
import * as fc from "fast-check"
import { afterAll, describe, expect, it } from "vitest"
import { answer, split } from "../../packages/redis/src/state/held/answer.ts"
import * as Held from "../../packages/redis/src/state/held/Held.ts"
import { discard, firstWritten, hold, supersede, writesOf } from "../../packages/redis/src/state/held/hold.ts"
import { learn } from "../../packages/redis/src/state/held/learn.ts"
import * as MemoryStore from "../../packages/redis/src/state/MemoryStore.ts"

type Sent = Held.Sent

type Step =
  | { readonly do: "live" | "away" | "read" | "other"; readonly command: Sent }
  | { readonly do: "pass"; readonly millis: number }
  | { readonly do: "back" }

const texts = ["s1", "s2"]
const hashes = ["h1", "h2"]
const sets = ["z1", "z2"]
const all = [...texts, ...hashes, ...sets]

const oneOf = (...words: ReadonlyArray<string>) => fc.constantFrom(...words)
const some = (words: ReadonlyArray<string>) => fc.array(oneOf(...words), { minLength: 1, maxLength: 3 })
const field = oneOf("f", "g", "h")
const value = oneOf("1", "2", "words")
const member = fc.tuple(oneOf("1", "2", "3.5"), oneOf("a", "b", "c"))
const millis = oneOf("40", "100", "1000")

/** A command by name, with arguments that are drawn one after another. */
const command = (
  name: string,
  ...args: ReadonlyArray<fc.Arbitrary<string | ReadonlyArray<string>>>
): fc.Arbitrary<Sent> => fc.tuple(...args).map((drawn) => ({ name, args: drawn.flat() }))

const read = fc.oneof(
  command("GET", oneOf(...texts)),
  command("MGET", some(all)),
  command("EXISTS", some(all)),
  command("PTTL", oneOf(...all)),
  command("HGET", oneOf(...hashes), field),
  command("HGETALL", oneOf(...hashes)),
  command("ZCARD", oneOf(...sets)),
  command("ZRANGE", oneOf(...sets), fc.constant(["0", "-1"])),
  command("ZRANGE", oneOf(...sets), fc.constant(["0", "-1", "WITHSCORES"]))
)

const fields = fc.array(fc.tuple(field, value), { minLength: 1, maxLength: 2 }).map((pairs) => pairs.flat())
const members = fc.array(member, { minLength: 1, maxLength: 2 }).map((pairs) => pairs.flat())

/** Writes to one key each, that stays of one type. */
const single = fc.oneof(
  command("SET", oneOf(...texts), value),
  command("DEL", oneOf(...all)),
  command("HSET", oneOf(...hashes), fields),
  command("HDEL", oneOf(...hashes), fc.array(field, { minLength: 1, maxLength: 2 })),
  command(
    "ZADD",
    oneOf(...sets),
    fc.oneof(
      members,
      members.map((pairs) => ["CH", ...pairs])
    )
  ),
  command("ZREMRANGEBYSCORE", oneOf(...sets), oneOf("1", "(1"), oneOf("2", "+inf"))
)

const lasting = fc.oneof(
  { weight: 6, arbitrary: single },
  { weight: 1, arbitrary: command("DEL", some(all)) }
)

const ending = fc.oneof(
  command("SET", oneOf(...texts), value, fc.constant("PX"), millis),
  command("SET", oneOf(...texts), value, fc.constant("KEEPTTL")),
  command("PEXPIRE", oneOf(...texts, ...hashes), millis)
)

const endingAway = fc.oneof(ending, command("PEXPIRE", oneOf(...sets), oneOf("0", "40", "1000")))

const step = (
  live: fc.Arbitrary<Sent>,
  away: fc.Arbitrary<Sent>,
  more: ReadonlyArray<fc.Arbitrary<Step>> = []
): fc.Arbitrary<Step> =>
  fc.oneof(
    { weight: 5, arbitrary: fc.oneof(live, read).map((command): Step => ({ do: "live", command })) },
    { weight: 4, arbitrary: away.map((command): Step => ({ do: "away", command })) },
    { weight: 8, arbitrary: read.map((command): Step => ({ do: "read", command })) },
    { weight: 3, arbitrary: fc.integer({ min: 1, max: 60 }).map((millis): Step => ({ do: "pass", millis })) },
    { weight: 1, arbitrary: fc.constant<Step>({ do: "back" }) },
    ...more
  )

const maxStaleMillis = 100
const roomy: Held.Bounds = { maxEntries: 1000, maxBytes: 1_000_000, maxStaleMillis, keepWrites: true }
const cramped: Held.Bounds = { maxEntries: 2, maxBytes: 1500, maxStaleMillis, keepWrites: true }

const unbounded = { maxEntries: 1000, maxBytes: 1_000_000_000 }

/** A server, and a process that holds what it knows of it. */
class World {
  readonly server = MemoryStore.make(unbounded)
  readonly held: Held.Held
  millis = 0

  constructor(bounds: Held.Bounds) {
    this.held = Held.make(bounds)
  }

  get now(): MemoryStore.Now {
    return { millis: this.millis, wallMillis: 1_700_000_000_000 + this.millis }
  }

  /** Asks the server as the engine does: not for what was written here. */
  ask(given: Sent): void {
    const isRead = readNames.has(given.name)
    const part = isRead ? split(this.held, given, this.now) : undefined
    if (part !== undefined && part.asked === undefined) return
    const command = part?.asked === undefined ? given : { ...given, args: part.asked }
    const reply = this.server.run(command.name, command.args, this.now)
    if (reply instanceof Error) return
    if (!isRead) supersede(this.held, command)
    learn(this.held, command, reply, this.now)
  }
}

const readNames = new Set(["GET", "MGET", "EXISTS", "PTTL", "HGET", "HGETALL", "ZCARD", "ZRANGE"])

/** Replies to compare: the order of a hash's fields says nothing. */
const plain = (name: string, reply: MemoryStore.Reply): unknown =>
  name === "HGETALL" && Array.isArray(reply) ? pairsOf(reply).sort() : reply

const pairsOf = (flat: ReadonlyArray<MemoryStore.Reply>): Array<string> =>
  flat.flatMap((field, index) => (index % 2 === 0 ? [`${field}=${flat[index + 1]}`] : []))

const copy = (
  from: MemoryStore.MemoryStore,
  to: MemoryStore.MemoryStore,
  key: string,
  nowMillis: number
): void => {
  const entry = from.get(key, nowMillis)
  if (entry === undefined) to.delete(key)
  else to.put(key, { ...entry, value: MemoryStore.cloneValue(entry.value) })
}

/** How often a property had something to look at. */
const seen = { stale: 0, local: 0, unknown: 0, sent: 0, lost: 0, refused: 0 }

afterAll(() => {
  // A property that never meets what it is about proves nothing.
  for (const [what, count] of Object.entries(seen)) expect(count, what).toBeGreaterThan(100)
})

const expectWithin = ({ held }: World): void => {
  for (const lru of [held.seen, held.written]) {
    expect(lru.size).toBeLessThanOrEqual(held.bounds.maxEntries)
    expect(lru.bytes).toBeLessThanOrEqual(held.bounds.maxBytes)
  }
}

/** Alone with its server: every answer is what the server would say, had it got what was written here. */
const playAlone = (bounds: Held.Bounds, steps: ReadonlyArray<Step>): void => {
  const world = new World(bounds)
  const { held, server } = world
  const mirror = MemoryStore.make(unbounded)
  const isHeldKey = (key: string): boolean => held.written.peek(key) !== undefined
  const maybeEnded = new Set<string>()
  for (const step of steps) {
    for (const key of all)
      if (server.get(key, world.millis)?.expiresAtMillis !== undefined) maybeEnded.add(key)
    switch (step.do) {
      case "live": {
        world.ask(step.command)
        if (!readNames.has(step.command.name)) {
          for (const key of Held.keysOf(step.command)) copy(server, mirror, key, world.millis)
        }
        break
      }
      case "away": {
        const before = all.filter(isHeldKey)
        const lostBefore = held.lost
        const result = hold(held, step.command, world.now, false)
        if (result === undefined) seen.refused++
        else mirror.run(step.command.name, step.command.args, world.now)
        const lost = before.filter((key) => !isHeldKey(key))
        expect(held.lost - lostBefore).toBe(lost.length)
        seen.lost += lost.length
        const refused = result === undefined ? Held.keysOf(step.command).filter((key) => !isHeldKey(key)) : []
        for (const key of [...lost, ...refused]) copy(server, mirror, key, world.millis)
        break
      }
      case "read": {
        const known = answer(held, step.command, world.now)
        if (known === undefined) {
          seen.unknown++
          break
        }
        seen[known.source]++
        const { args, name } = step.command
        const expected = plain(name, mirror.run(name, args, world.now))
        expect({ ...step.command, reply: plain(name, known.reply) }).toEqual({
          ...step.command,
          reply: expected
        })
        if (known.source === "stale") expect(known.ageMillis).toBeLessThanOrEqual(maxStaleMillis)
        break
      }
      case "pass":
        world.millis += step.millis
        break
      case "back": {
        const count = all.filter(isHeldKey).length + held.lost
        expect(discard(held)).toBe(count)
        for (const key of all) copy(server, mirror, key, world.millis)
      }
    }
    expectWithin(world)
  }

  // Sent at last, what is held makes of each key at the server what it was here.
  for (let first = firstWritten(held); first !== undefined; first = firstWritten(held)) {
    const [key, written] = first
    held.written.delete(key)
    // What was seen of a key is not sent, so its time cannot be lengthened once it has run out at the server.
    if (maybeEnded.has(key) && server.get(key, world.millis) === undefined) continue
    for (const { args, name } of writesOf(key, written, world.millis)) {
      expect(server.run(name, args, world.now)).not.toBeInstanceOf(Error)
      seen.sent++
    }
    expect({ key, entry: entryOf(server, key, world.millis) }).toEqual({
      key,
      entry: entryOf(mirror, key, world.millis)
    })
  }
}

const entryOf = (store: MemoryStore.MemoryStore, key: string, nowMillis: number): unknown => {
  const entry = store.get(key, nowMillis)
  if (entry === undefined) return undefined
  const { value } = entry
  const items =
    value._tag === "String"
      ? value.text
      : value._tag === "Hash"
        ? [...value.fields].sort()
        : [...value.scores].sort()
  return { items, expiresAtMillis: entry.expiresAtMillis }
}

describe("a process alone with its server", () => {
  it("answers what the server would, and sends what makes it so", () => {
    const steps = fc.array(step(fc.oneof(lasting, ending), fc.oneof(lasting, endingAway)), { maxLength: 40 })
    fc.assert(
      fc.property(steps, (steps) => playAlone(roomy, steps)),
      { numRuns: 3000 }
    )
  })

  it("does so within narrow bounds, and counts what it lost", () => {
    // Without times to live, of which nothing is known any more when their key had to leave.
    const steps = fc.array(step(single, single), { maxLength: 40 })
    fc.assert(
      fc.property(steps, (steps) => playAlone(cramped, steps)),
      { numRuns: 3000 }
    )
  })
})

/** What was true at the server, when it last was, and what this process wrote and deleted while it was away. */
class Witness {
  readonly #lastTrue = new Map<string, number>()
  readonly #own = new Set<string>()
  readonly deleted = new Set<string>()

  look({ millis, server }: World): void {
    for (const key of all) {
      for (const item of itemsOf(server, key, millis)) this.#lastTrue.set(item, millis)
    }
  }

  wrote({ args, name }: Sent): void {
    const [key = "", ...rest] = args
    if (name === "DEL") for (const each of args) this.deleted.add(each)
    else this.deleted.delete(key)
    if (name === "SET") this.#own.add(`${key} ${rest[0]}`)
    if (name === "HSET") for (const pair of pairsOf(rest)) this.#own.add(`${key} ${pair}`)
    if (name === "ZADD") {
      const scored = rest[0] === "CH" ? rest.slice(1) : rest
      for (const pair of pairsOf(scored)) this.#own.add(`${key} ${pair.split("=").reverse().join("=")}`)
    }
  }

  /** The server's word counts again. */
  forget(keys: ReadonlyArray<string>): void {
    for (const key of keys) this.deleted.delete(key)
  }

  /** Whether it was true not too long ago, or is this process's own. */
  knows(item: string, nowMillis: number): boolean {
    return this.#own.has(item) || nowMillis - (this.#lastTrue.get(item) ?? -Infinity) <= maxStaleMillis
  }
}

const itemsOf = (server: MemoryStore.MemoryStore, key: string, nowMillis: number): ReadonlyArray<string> => {
  const value = server.get(key, nowMillis)?.value
  switch (value?._tag) {
    case "String":
      return [`${key} ${value.text}`]
    case "Hash":
      return [...value.fields].map(([field, text]) => `${key} ${field}=${text}`)
    case "SortedSet":
      return [...value.scores].map(([member, score]) => `${key} ${member}=${score}`)
    default:
      return []
  }
}

/** The items that a reply claims. */
const claimsOf = ({ args, name }: Sent, reply: MemoryStore.Reply): ReadonlyArray<string> => {
  const [key = "", second = ""] = args
  if (reply === null || reply instanceof Error) return []
  switch (name) {
    case "GET":
      return [`${key} ${reply}`]
    case "HGET":
      return [`${key} ${second}=${reply}`]
    case "MGET":
      return Array.isArray(reply)
        ? args.flatMap((key, index) => (reply[index] === null ? [] : [`${key} ${reply[index]}`]))
        : []
    case "HGETALL":
      return Array.isArray(reply) ? pairsOf(reply).map((pair) => `${key} ${pair}`) : []
    case "ZRANGE":
      return args.includes("WITHSCORES") && Array.isArray(reply)
        ? pairsOf(reply).map((pair) => `${key} ${pair}`)
        : []
    default:
      return []
  }
}

const isAbsence = (reply: MemoryStore.Reply): boolean =>
  reply === null || reply === 0 || reply === -2 || (Array.isArray(reply) && reply.length === 0)

const playAmongOthers = (bounds: Held.Bounds, steps: ReadonlyArray<Step>): void => {
  const world = new World(bounds)
  const { held, server } = world
  const witness = new Witness()
  for (const step of steps) {
    witness.look(world)
    switch (step.do) {
      case "live":
        world.ask(step.command)
        if (!readNames.has(step.command.name)) witness.forget(Held.keysOf(step.command))
        break
      case "other":
        server.run(step.command.name, step.command.args, world.now)
        break
      case "away":
        if (hold(held, step.command, world.now, false) !== undefined) witness.wrote(step.command)
        break
      case "read": {
        // A pipeline may learn of keys that are written here, too.
        const known = answer(held, step.command, world.now)
        if (known === undefined) break
        seen[known.source]++
        for (const claim of claimsOf(step.command, known.reply)) {
          expect(witness.knows(claim, world.millis), `${step.command.name} says ${claim}`).toBe(true)
        }
        if (known.source === "stale") {
          expect(known.ageMillis).toBeLessThanOrEqual(maxStaleMillis)
          // That a field is not there is known with the whole of its hash.
          if (step.command.name !== "HGET" && step.command.name !== "MGET")
            expect(isAbsence(known.reply)).toBe(false)
        }
        const [key = ""] = step.command.args
        if (step.command.args.length === 1 && witness.deleted.has(key)) {
          expect(isAbsence(known.reply) || step.command.name === "MGET", `${step.command.name} ${key}`).toBe(
            true
          )
        }
        break
      }
      case "pass":
        world.millis += step.millis
        break
      case "back":
        discard(held)
        witness.forget(all)
    }
    witness.look(world)
    expectWithin(world)
  }
}

describe("a process among others", () => {
  /** Others make of a key whatever they like. */
  const foreign = fc.oneof(
    lasting,
    ending,
    command("SET", oneOf(...all), value),
    command("HSET", oneOf(...all), fields),
    command("ZADD", oneOf(...all), members),
    command("PEXPIRE", oneOf(...all), millis)
  )
  const others = step(fc.oneof(lasting, ending, foreign), fc.oneof(lasting, endingAway), [
    foreign.map((command): Step => ({ do: "other", command }))
  ])

  it.each([
    ["wide", roomy],
    ["narrow", cramped]
  ] as const)(
    "says nothing that was not true a while ago or is its own, and never what it deleted: %s bounds",
    (_, bounds) => {
      fc.assert(
        fc.property(fc.array(others, { maxLength: 40 }), (steps) => playAmongOthers(bounds, steps)),
        { numRuns: 3000 }
      )
    }
  )

  it("does not learn from others what it has deleted itself, even when that has left for want of room", () => {
    const world = new World(cramped)
    const now = world.now
    learn(world.held, { name: "GET", args: ["s1"] }, "before", now)
    hold(world.held, { name: "DEL", args: ["s1"] }, now, false)
    learn(world.held, { name: "MGET", args: ["s1", "s2"] }, ["before", "other"], now)
    for (const key of ["h1", "h2", "z1"]) hold(world.held, { name: "DEL", args: [key] }, now, false)
    expect(world.held.lost).toBe(2)
    expect(answer(world.held, { name: "GET", args: ["s1"] }, now)).toBeUndefined()
    expect(answer(world.held, { name: "GET", args: ["s2"] }, now)).toMatchObject({ reply: "other" })
  })
})

describe("a whole hash", () => {
  it("stays equal to the server's, whatever this process reads and writes of it", () => {
    const change = fc.oneof(
      command("HSET", fc.constant("h1"), fields),
      command("HDEL", fc.constant("h1"), fc.array(field, { minLength: 1, maxLength: 2 })),
      command("HGET", fc.constant("h1"), field),
      command("HGETALL", fc.constant("h1"))
    )
    fc.assert(
      fc.property(fc.array(change, { maxLength: 30 }), (changes) => {
        const world = new World(roomy)
        for (const each of [
          { name: "HSET", args: ["h1", "f", "0"] },
          { name: "HGETALL", args: ["h1"] },
          ...changes
        ]) {
          world.ask(each)
          const known = world.held.seen.peek("h1")
          const real = world.server.run("HGETALL", ["h1"], world.now)
          if (known === undefined) continue
          const whole = answer(world.held, { name: "HGETALL", args: ["h1"] }, world.now)
          // What was deleted whole is seen anew from its first field on, and is not whole then.
          expect(whole === undefined).toBe(!known.complete)
          if (whole !== undefined) expect(plain("HGETALL", whole.reply)).toEqual(plain("HGETALL", real))
        }
      }),
      { numRuns: 2000 }
    )
  })

  it("is held by its fields when these are read one by one, each as old as it is", () => {
    const world = new World(roomy)
    world.server.run("HSET", ["h1", "f", "1", "g", "2"], world.now)
    world.ask({ name: "HGET", args: ["h1", "f"] })
    world.millis = 90
    world.ask({ name: "HGET", args: ["h1", "g"] })
    world.millis = 150
    expect(answer(world.held, { name: "HGET", args: ["h1", "f"] }, world.now)).toBeUndefined()
    expect(answer(world.held, { name: "HGET", args: ["h1", "g"] }, world.now)).toEqual({
      reply: "2",
      source: "stale",
      ageMillis: 60
    })
    expect(answer(world.held, { name: "HGETALL", args: ["h1"] }, world.now)).toBeUndefined()
  })
})
