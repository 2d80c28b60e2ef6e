-- wrk: requests for the rules that the bench wrote, one per line: host, path, addresses of its service.
-- Arguments: FILE, and then any of
--   close     a connection for each request
--   rule      every thread keeps to one rule; otherwise each request is for the next one
--   check     every answer must be of an address of the rule's service, and to what was asked; one connection a thread
--   seed=N    with which rule the first thread begins
local threads = {}

function setup(thread)
  thread:set("number", #threads)
  table.insert(threads, thread)
end

function init(words)
  seed, keep, checks, wrong, checked = 0, false, false, 0, 0
  for _, word in ipairs(words) do
    if word == "close" then wrk.headers["Connection"] = "close" end
    if word == "rule" then keep = true end
    if word == "check" then checks = true end
    seed = tonumber(word:match("^seed=(%d+)$")) or seed
  end
  requests, rules = {}, {}
  for line in io.lines(words[1]) do
    local host, path, addresses = line:match("^(%S+) (%S+) (%S+)$")
    table.insert(rules, {host = host, path = path, addresses = addresses})
    wrk.headers["Host"] = host
    table.insert(requests, wrk.format("GET", path))
  end
  at = (seed + number * 37) % #rules + 1  -- of the next request
  if not checks then response = nil end
end

function request()
  asked = at
  if not keep then at = at % #rules + 1 end
  return requests[asked]
end

function response(status, headers, body)
  local rule = rules[asked]
  local address, host, path = body:match("^(%S+) (%S+) (%S+)\n$")
  checked = checked + 1
  if status ~= 200 or host ~= rule.host or path ~= rule.path
     or not string.find(rule.addresses, "," .. address .. ",", 1, true) then
    wrong = wrong + 1
    example = rule.host .. rule.path .. ": " .. status .. " " .. body:sub(1, 100)
  end
end

function done(summary, latency, _)
  local wrongs, count, words = 0, 0, ""
  for _, thread in ipairs(threads) do
    wrongs = wrongs + (thread:get("wrong") or 0)
    count = count + (thread:get("checked") or 0)
    words = thread:get("example") or words
  end
  local errors = summary.errors
  print(string.format('RESULT {"requests": %d, "micros": %d, "bytes": %d, "connect": %d, "read": %d, "write": %d, '
    .. '"status": %d, "timeout": %d, "p50": %g, "p99": %g, "wrong": %d, "checked": %d, "example": %q}',
    summary.requests, summary.duration, summary.bytes, errors.connect, errors.read, errors.write, errors.status,
    errors.timeout, latency:percentile(50), latency:percentile(99), wrongs, count, (words:gsub("[%c]", " "))))
end
