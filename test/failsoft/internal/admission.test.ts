import { Effect, Exit } from "effect"
import { describe, expect, it } from "vitest"
import * as admission from "../../../packages/failsoft/src/internal/admission.ts"
import { interruptEverywhere } from "../interruption.ts"

type Shell = typeof admission.masked

/** Takes in the lean form: what the masked form is there to prevent. */
const takesInTheLeanForm: Shell = (self, take, settle) =>
  Effect.flatMap(take, ({ announce, permit }) =>
    admission.lean(announce === undefined ? self : Effect.andThen(announce, self), (exit) =>
      settle(permit, exit)
    )
  )

const calls = {
  "that succeeds": Effect.andThen(Effect.sleep("1 second"), Effect.succeed("answer")),
  "that fails": Effect.andThen(Effect.sleep("1 second"), Effect.fail("refused")),
  "that dies": Effect.andThen(Effect.sleep("1 second"), Effect.die("defect")),
  "that is interrupted from within": Effect.andThen(Effect.sleep("1 second"), Effect.interrupt)
}

/** Interrupts a call through a shell everywhere, and tells after which yields something was not given back. */
const leaksOf = (shell: Shell, call: Effect.Effect<string, string>, settleWaits: boolean) => {
  const leaks: Array<number> = []
  const exits: Array<string> = []
  const interrupted = interruptEverywhere((world) => {
    let taken = 0
    const announced: Array<number> = []
    const settled: Array<number> = []
    const take = Effect.flatMap(
      Effect.sync(() => ++taken),
      (permit) => Effect.succeed({ permit, announce: Effect.sync(() => void announced.push(permit)) })
    )
    const settle = (permit: number) => {
      if (!settleWaits) {
        settled.push(permit)
        return undefined
      }
      return Effect.andThen(
        Effect.sync(() => 0),
        Effect.sync(() => void settled.push(permit))
      )
    }
    return {
      program: shell(call, take, settle),
      verify: (exit, at) => {
        if (settled.length !== taken || announced.length !== taken || !world.isIdle) leaks.push(at)
        if (Exit.hasInterrupts(exit)) exits.push("interrupted")
        else exits.push(Exit.isSuccess(exit) ? "succeeded" : "failed")
      }
    }
  })
  return { leaks, interrupted, exits }
}

describe.each(Object.entries(calls))("a call %s", (_, call) => {
  it.each([false, true])(
    "gives back what it took, wherever it is interrupted (settling in steps: %s)",
    (steps) => {
      const { exits, interrupted, leaks } = leaksOf(admission.masked, call, steps)
      expect(leaks).toEqual([])
      expect(interrupted).toBeGreaterThan(5)
      expect(exits.slice(0, 5)).toEqual(Array.from({ length: 5 }, () => "interrupted"))
    }
  )

  it.each([false, true])("leaks when it takes in the lean form (settling in steps: %s)", (steps) => {
    expect(leaksOf(takesInTheLeanForm, call, steps).leaks).not.toEqual([])
  })
})

describe("the form that holds", () => {
  type Held = typeof admission.held

  /** Takes before the end is certain: what the order of steps is there to prevent. */
  const takesTooEarly: Held = (use, giveBack) => Effect.suspend(() => Effect.onExitPrimitive(use(), giveBack))

  /** Ends as the lean forms of Effect may, which pass by an interruption where they stand. */
  const missesInterruption: Held = (use, giveBack) =>
    Effect.onExitPrimitive(Effect.suspend(use), giveBack, true)

  /** A fiber yields at every third step, so each step is met in one of three phases. */
  const leaksIn = (held: Held, call: Effect.Effect<string, string>) =>
    [0, 1, 2].flatMap((phase) => {
      const leaks: Array<string> = []
      const interrupted = interruptEverywhere((world) => {
        let taken = 0
        let ends = 0
        const run = Effect.suspend(() => {
          let has = false
          return held(
            () => {
              taken++
              has = true
              return call
            },
            () => {
              ends++
              if (has) taken--
              return undefined
            }
          )
        })
        return {
          program: Array.from({ length: phase }).reduce<typeof run>(
            (later) => Effect.suspend(() => later),
            run
          ),
          verify: (_, at) => {
            if (taken !== 0 || ends > 1 || !world.isIdle) leaks.push(`yield ${at} of phase ${phase}`)
          }
        }
      })
      expect(interrupted).toBeGreaterThan(3)
      return leaks
    })

  it.each(Object.entries(calls))("gives back what a call %s took, wherever it is interrupted", (_, call) => {
    expect(leaksIn(admission.held, call)).toEqual([])
    expect(leaksIn(takesTooEarly, call)).not.toEqual([])
    expect(leaksIn(missesInterruption, call)).not.toEqual([])
  })
})

describe("the lean form", () => {
  it.each(Object.entries(calls))("settles a call %s once, or never when it did not begin", (_, call) => {
    const settled: Array<number> = []
    const interrupted = interruptEverywhere(() => {
      let times = 0
      return {
        program: admission.lean(call, () => Effect.sync(() => void times++)),
        verify: () => void settled.push(times)
      }
    })
    expect(interrupted).toBeGreaterThan(3)
    expect(settled).toEqual([0, ...Array.from({ length: interrupted }, () => 1)])
  })
})

describe("the masked form", () => {
  it("runs nothing when nothing was given", () => {
    const ran: Array<string> = []
    const exit = Effect.runSyncExit(
      admission.masked(
        Effect.sync(() => ran.push("call")),
        Effect.fail("rejected"),
        () => void ran.push("settle")
      )
    )
    expect(exit).toEqual(Exit.fail("rejected"))
    expect(ran).toEqual([])
  })

  it("lets the call be interrupted", () => {
    const { exits } = leaksOf(
      admission.masked,
      Effect.andThen(Effect.sleep("1 day"), Effect.succeed("answer")),
      false
    )
    expect(exits.at(-1)).toBe("succeeded")
    expect(exits.filter((exit) => exit === "interrupted").length).toBeGreaterThan(5)
  })
})
