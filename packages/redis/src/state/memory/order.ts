/**
 * The order of a sorted set: by score, and among equal scores by the bytes of the members.
 *
 * It is an array beside the map of scores, made when it is first needed. Finding a place in it takes a binary search;
 * putting something there moves what is behind it, which for thousands of members is still a matter of microseconds.
 */
import type { Bound } from "./numbers.ts"
import type { SortedSet } from "./value.ts"

/** UTF-16 has surrogates before the last characters of the first plane; in UTF-8 what they stand for comes behind. */
const rankOf = (unit: number): number =>
  unit >= 0xe000 ? unit - 0x800 : unit >= 0xd800 ? unit + 0x2000 : unit

const compareBytes = (one: string, other: string): number => {
  const shared = Math.min(one.length, other.length)
  for (let index = 0; index < shared; index++) {
    const difference = rankOf(one.charCodeAt(index)) - rankOf(other.charCodeAt(index))
    if (difference !== 0) return difference
  }
  return one.length - other.length
}

const scoreIn = (set: SortedSet, member: string): number => set.scores.get(member) ?? 0

const precedes = (score: number, member: string, otherScore: number, other: string): boolean =>
  score < otherScore || (score === otherScore && compareBytes(member, other) < 0)

/** The members in their order. */
export const membersOf = (set: SortedSet): Array<string> => {
  set.order ??= [...set.scores]
    .sort(([one, score], [other, otherScore]) =>
      score === otherScore ? compareBytes(one, other) : score < otherScore ? -1 : 1
    )
    .map(([member]) => member)
  return set.order
}

/** The first index at which something does not hold any more that holds from the start up to there. */
const indexWhereEnds = (members: ReadonlyArray<string>, holds: (member: string) => boolean): number => {
  let from = 0
  let to = members.length
  while (from < to) {
    const middle = (from + to) >>> 1
    if (holds(members[middle] ?? "")) from = middle + 1
    else to = middle
  }
  return from
}

const placeOf = (set: SortedSet, order: ReadonlyArray<string>, score: number, member: string): number =>
  indexWhereEnds(order, (other) => precedes(scoreIn(set, other), other, score, member))

/** Gives a member a score. */
export const place = (set: SortedSet, member: string, score: number): void => {
  const { order, scores } = set
  if (order === undefined) {
    scores.set(member, score)
    return
  }
  const old = scores.get(member)
  if (old !== undefined) order.splice(placeOf(set, order, old, member), 1)
  order.splice(placeOf(set, order, score, member), 0, member)
  scores.set(member, score)
}

/** The indexes of the members whose scores are in a range: from the first up to the second. */
export const between = (set: SortedSet, min: Bound, max: Bound): readonly [from: number, to: number] => {
  const members = membersOf(set)
  const isBelow = (member: string): boolean =>
    min.exclusive ? scoreIn(set, member) <= min.score : scoreIn(set, member) < min.score
  const isNotAbove = (member: string): boolean =>
    max.exclusive ? scoreIn(set, member) < max.score : scoreIn(set, member) <= max.score
  const from = indexWhereEnds(members, isBelow)
  return [from, Math.max(from, indexWhereEnds(members, isNotAbove))]
}

/** Removes the members from one index up to another, and gives them. */
export const removeBetween = (set: SortedSet, from: number, to: number): ReadonlyArray<string> => {
  const removed = membersOf(set).splice(from, to - from)
  for (const member of removed) set.scores.delete(member)
  return removed
}
