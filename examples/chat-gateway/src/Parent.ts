/**
 * The parent process that started this one over an IPC channel, if any; `Processes.spawn` is its other end.
 *
 * The channel closes when the parent ends, however it ends, so a child that listens for that never outlives
 * it.
 */

/** Whether a parent started this process over IPC. */
export const isPresent = process.send !== undefined

/** Tells the parent, if any, that this process is ready, with what the parent needs to know. */
export const ready = (payload: Readonly<Record<string, unknown>>): void => {
  // A parent that is gone by now is not an error: `whenGone` ends this process.
  process.send?.({ ...payload, ready: true }, () => {})
}

/** Calls `end` once the parent is gone; never, when there was none. */
export const whenGone = (end: () => void): void => {
  if (process.send === undefined) return
  process.once("disconnect", end)
  // A parent that went away while this process was loading has sent its last event already.
  if (!process.connected) end()
}
