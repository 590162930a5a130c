-- For wrk: a new text in each request, and one line of JSON at the end. Short ones, or with WORDS=N of 1 to N words.
local threads, mine, count = 0, 0, 0
local most = tonumber(os.getenv("WORDS") or "0")

function setup(thread)
  thread:set("mine", threads)
  threads = threads + 1
end

local function text()
  if most == 0 then
    return string.format("photo %d of %d", count, mine)
  end
  return string.format("%d %d%s", count, mine, string.rep(" cat", math.random(most)))
end

function request()
  count = count + 1
  local body = string.format('{"texts": ["%s"]}', text())
  return wrk.format("POST", "/embed", { ["Content-Type"] = "application/json" }, body)
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "not_200": %d, "broken": %d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout
  ))
end
