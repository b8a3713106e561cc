/**
 * Names within a bound: the first so many have a place of their own, later ones share a last one.
 *
 * A name keeps its place until everything of that name has left, so that what belongs together is found together.
 */

/** The name of the place that all names share which came too late for one of their own. */
export const other = "_other"

/** Names that are there, where each is, and how many there are of it. */
export interface Places {
  readonly limit: number
  readonly held: Map<string, { readonly place: string; members: number }>
  /** Places of their own that are taken. */
  taken: number
}

/** No names. `limit` says how many may have a place of their own. */
export const make = (limit: number): Places => ({ limit, held: new Map(), taken: 0 })

/** Takes the place of a name. */
export const take = (places: Places, name: string): string => {
  const held = places.held.get(name)
  if (held !== undefined) {
    held.members++
    return held.place
  }
  const place = places.taken < places.limit ? name : other
  if (place !== other) places.taken++
  places.held.set(name, { place, members: 1 })
  return place
}

/** Gives back the place of a name, once for each time that it was taken. */
export const leave = (places: Places, name: string): void => {
  const held = places.held.get(name)
  if (held === undefined || --held.members > 0) return
  places.held.delete(name)
  if (held.place !== other) places.taken--
}
