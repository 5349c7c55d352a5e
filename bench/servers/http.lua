-- http.lua: for wrk, checks every answer, and prints one line of JSON: how many there
-- were, errors by kind, latencies in microseconds, and the share of one processor that
-- wrk used.
--
--   wrk -s http.lua URL -- keep-alive|close

local threads = {}

function setup(thread)
    table.insert(threads, thread)
end

function init(arguments)
    wrong = 0
    if arguments[1] == "close" then
        wrk.headers["Connection"] = "close"
    end
    request_text = wrk.format()
end

function request()
    return request_text
end

function response(status, headers, body)
    if status ~= 200 or body ~= "hello, world\n" then
        wrong = wrong + 1
    end
end

function done(summary, latency)
    local errors = {wrong = 0}
    for _, thread in ipairs(threads) do
        errors.wrong = errors.wrong + thread:get("wrong")
    end
    for _, kind in ipairs({"connect", "read", "write", "timeout"}) do
        errors[kind] = summary.errors[kind]
    end
    local counts = {}
    for kind, count in pairs(errors) do
        if count > 0 then
            table.insert(counts, string.format('"%s": %d', kind, count))
        end
    end
    local seconds = summary.duration / 1e6
    print(string.format('{"answered": %d, "seconds": %.4f, "cpu": %.3f, "errors": {%s}, ' ..
        '"p50": %d, "p99": %d, "p999": %d}', summary.requests, seconds, os.clock() / seconds,
        table.concat(counts, ", "), latency:percentile(50), latency:percentile(99),
        latency:percentile(99.9)))
end
