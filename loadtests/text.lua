-- For wrk: a new text in each request, and one line of JSON at the end.
local threads, mine, count = 0, 0, 0

function setup(thread)
  thread:set("mine", threads)
  threads = threads + 1
end

function request()
  count = count + 1
  local body = string.format('{"texts": ["photo %d of %d"]}', count, mine)
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
