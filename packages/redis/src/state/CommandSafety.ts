/**
 * What becomes of a command that is applied twice, judged by its name and arguments.
 *
 * The classes are those of StackExchange.Redis. The first three may be repeated when nobody knows whether the first try
 * was applied; the others may not.
 */

/**
 * - `read`: changes nothing.
 * - `write-checked`: writes only under a condition that the first application has made false.
 * - `write-last-wins`: leaves the same value behind, however often it is applied.
 * - `write-accumulating`: each application adds to the one before.
 * - `never`: takes something away, waits, or is not known.
 */
export type CommandSafety = "read" | "write-checked" | "write-last-wins" | "write-accumulating" | "never"

const read = new Set(
  `BITCOUNT BITPOS DBSIZE ECHO EXISTS EXPIRETIME GEODIST GEOHASH GEOPOS GEOSEARCH GET GETBIT GETRANGE HEXISTS HGET
  HGETALL HKEYS HLEN HMGET HRANDFIELD HSCAN HSTRLEN HVALS INFO KEYS LCS LINDEX LLEN LPOS LRANGE MGET PEXPIRETIME PFCOUNT
  PING PTTL RANDOMKEY SCAN SCARD SDIFF SINTER SINTERCARD SISMEMBER SMEMBERS SMISMEMBER SRANDMEMBER SSCAN STRLEN SUBSTR
  SUNION TIME TOUCH TTL TYPE XINFO XLEN XPENDING XRANGE XREVRANGE ZCARD ZCOUNT ZDIFF ZINTER ZINTERCARD ZLEXCOUNT ZMSCORE
  ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE
  ZUNION`.split(/\s+/)
)

const writeChecked = new Set(["COPY", "HSETNX", "MSETNX", "RENAMENX", "SETNX"])

const writeLastWins = new Set(
  `DEL EXPIRE EXPIREAT HDEL HMSET HSET LSET LTRIM MSET PERSIST PEXPIRE PEXPIREAT PFADD PSETEX SADD SDIFFSTORE SETBIT
  SETEX SETRANGE SINTERSTORE SREM SUNIONSTORE UNLINK XDEL ZDIFFSTORE ZINTERSTORE ZRANGESTORE ZREM ZREMRANGEBYLEX
  ZREMRANGEBYRANK ZREMRANGEBYSCORE ZUNIONSTORE`.split(/\s+/)
)

const writeAccumulating = new Set(
  `APPEND BITOP DECR DECRBY GETDEL GETEX GETSET HINCRBY HINCRBYFLOAT INCR INCRBY INCRBYFLOAT LINSERT LMOVE LMPOP LPOP
  LPUSH LPUSHX LREM PUBLISH RPOP RPOPLPUSH RPUSH RPUSHX SMOVE SPOP SPUBLISH XTRIM ZINCRBY ZMPOP ZPOPMAX ZPOPMIN`.split(
    /\s+/
  )
)

/** Judges a command by its name and arguments, in any case of letters. */
export const of = (command: string, args: ReadonlyArray<string | number>): CommandSafety => {
  const name = command.toUpperCase()
  const has = (option: string): boolean => args.some((arg) => String(arg).toUpperCase() === option)
  switch (name) {
    case "SET":
      // With GET the reply of a second application is what the first one wrote.
      if (setOptions(args).has("GET")) return "write-accumulating"
      return setOptions(args).has("NX") || setOptions(args).has("XX") ? "write-checked" : "write-last-wins"
    case "ZADD": {
      const options = zaddOptions(args)
      if (options.has("INCR")) return "write-accumulating"
      return options.has("NX") || options.has("XX") || options.has("GT") || options.has("LT")
        ? "write-checked"
        : "write-last-wins"
    }
    case "XADD":
      // An entry with an identifier of its own is refused the second time.
      return args.includes("*") ? "write-accumulating" : "write-checked"
    case "XREAD":
      return has("BLOCK") ? "never" : "read"
    case "SORT":
    case "GEORADIUS":
    case "GEORADIUSBYMEMBER":
      return has("STORE") || has("STOREDIST") ? "write-last-wins" : "read"
    case "BITFIELD":
      return has("INCRBY") ? "write-accumulating" : has("SET") ? "write-last-wins" : "read"
    default:
      if (read.has(name)) return "read"
      if (writeChecked.has(name)) return "write-checked"
      if (writeLastWins.has(name)) return "write-last-wins"
      return writeAccumulating.has(name) ? "write-accumulating" : "never"
  }
}

/** Whether a command may be sent again when nobody knows whether it was applied. */
export const mayRepeat = (safety: CommandSafety): boolean =>
  safety === "read" || safety === "write-checked" || safety === "write-last-wins"

/** The words behind key and value of a SET: a value that reads like an option is none. */
const setOptions = (args: ReadonlyArray<string | number>): ReadonlySet<string> =>
  new Set(args.slice(2).map((arg) => String(arg).toUpperCase()))

const zaddFlags = new Set(["NX", "XX", "GT", "LT", "CH", "INCR"])

/** The words between the key of a ZADD and its first score. */
const zaddOptions = (args: ReadonlyArray<string | number>): ReadonlySet<string> => {
  const words = args.slice(1).map((arg) => String(arg).toUpperCase())
  const firstScore = words.findIndex((word) => !zaddFlags.has(word))
  return new Set(words.slice(0, firstScore === -1 ? words.length : firstScore))
}
