-- One decision: all rules of a key together, on the time of this server. Times are in microseconds.
-- ARGV: the cost, the most that is taken if there is room, the number of rules, and for each of them seven values.
-- With two values more, what was used before is settled, and nothing returned.
-- Returns what was taken, and for each rule what is left, when nothing counts any more, how long to wait, and what the
-- period before left, which the limit is higher by.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local cost, most, count = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min

local cells = {}
local written = redis.call('GET', KEYS[1])
if written then
  for number in string.gmatch(written, '%S+') do cells[#cells + 1] = tonumber(number) end
end

-- The least part of a window after which no more than `room` of `previous` is left.
local function fades_to(previous, room, window)
  if previous <= room then return 0 end
  return max(0, window - ceil((room + 1) * window / previous))
end

local rules, room = {}, math.huge
for i = 1, count do
  local at = 3 + (i - 1) * 7
  local rule = { kind = ARGV[at + 1], limit = tonumber(ARGV[at + 2]), window = tonumber(ARGV[at + 3]), burst = tonumber(ARGV[at + 4]), outlasts = 0, carried = 0 }
  local start, previous, current = cells[3 * i - 2] or 0, cells[3 * i - 1] or 0, cells[3 * i] or 0
  if rule.kind == 's' then
    -- A clock that was set back by more than a window leaves nothing to go by.
    if start > now + rule.window then start, previous, current = now, 0, 0 end
    local elapsed = max(0, now - start)
    if elapsed >= rule.window or (previous == 0 and current == 0) then
      if current > 0 and elapsed < 2 * rule.window then
        previous, current, start = current, 0, start + rule.window
      else
        previous, current, start = 0, 0, now
      end
      elapsed = max(0, now - start)
    end
    rule.elapsed = elapsed
    rule.left = rule.limit - floor(previous * max(rule.window - elapsed - 1, 0) / rule.window) - current
  elseif rule.kind == 'b' then
    if start > now + rule.window then start, previous = now, 0 end
    previous = max(0, previous - max(0, now - start) * rule.limit / rule.window)
    start = max(start, now)
    -- What is admitted ahead of its turn.
    rule.ahead = tonumber(ARGV[at + 5]) * rule.limit / rule.window
    rule.left = cost > rule.burst and -1 or floor(rule.burst + rule.ahead - previous + 0.000001)
  else
    local from, to, before
    local rollover = 0
    if rule.kind == 'p' then
      -- Four bounds of three periods that follow each other; this server says in which we are.
      local a, b, c, d = rule.window, rule.burst, tonumber(ARGV[at + 5]), tonumber(ARGV[at + 6])
      if now < b then before, from, to = 0, a, b elseif now < c then before, from, to = a, b, c else before, from, to = b, c, d end
      rollover = min(tonumber(ARGV[at + 7]), rule.limit)
      -- Whoever is not seen for a dozen periods begins like new.
      if rollover > 0 then rule.outlasts = 12 * (to - from) end
    else
      from = now - now % rule.window
      to = from + rule.window
    end
    rule.next = function(left) return min(rollover, max(0, left)) end
    if start < from or start > to then
      if start == 0 or start > to then previous = 0
      elseif start < before then previous = rollover
      else previous = rule.next(rule.limit + rule.next(previous) - current) end
      start, current = from, 0
    end
    rule.to = to
    rule.carried = rule.next(previous)
    rule.left = rule.limit + rule.carried - current
  end
  rule.start, rule.previous, rule.current = start, previous, current
  rules[i] = rule
  room = min(room, rule.left)
end

-- The final cost of what was used before. ARGV behind the rules: what was used, and how long ago.
local settled = ARGV[4 + 7 * count]
if settled then
  local more, ago, kept, lasts = cost - tonumber(settled), tonumber(ARGV[5 + 7 * count]), {}, 0
  for _, rule in ipairs(rules) do
    if rule.kind == 'b' then
      -- What has come back by itself in the meantime is not given back again.
      if more < 0 then more = min(0, more + ago * rule.limit / rule.window) end
      rule.previous = max(0, rule.previous + more)
      lasts = max(lasts, ceil(rule.previous * rule.window / rule.limit))
    else
      if more >= 0 or rule.start <= now - ago then rule.current = max(0, rule.current + more) end
      lasts = max(lasts, rule.kind == 's' and 2 * rule.window or rule.to - now + rule.outlasts)
    end
    kept[#kept + 1] = string.format('%.17g %.17g %.17g', rule.start, rule.previous, rule.current)
  end
  redis.call('SET', KEYS[1], table.concat(kept, ' '), 'PX', ceil(lasts / 1000) + 1000)
  return {}
end

local taken = 0
if cost <= room then taken = max(cost, min(most, room)) end
local refused = cost > room

local answer, kept, lasts = { taken, refused and 0 or 1 }, {}, 0
for i, rule in ipairs(rules) do
  local fits, wait, reset = cost <= rule.left, 0, 0
  if rule.kind == 's' then
    if not fits then
      local spare = rule.limit - cost
      if spare < 0 then
        wait = -1
      elseif spare >= rule.current then
        wait = fades_to(rule.previous, spare - rule.current, rule.window) - rule.elapsed
      else
        wait = rule.window - rule.elapsed + fades_to(rule.current, spare, rule.window)
      end
    end
    rule.current = rule.current + taken
    if rule.current > 0 then reset = 2 * rule.window - rule.elapsed
    elseif rule.previous > 0 then reset = rule.window - rule.elapsed end
  elseif rule.kind == 'b' then
    if not fits then
      wait = cost > rule.burst and -1 or ceil((rule.previous + cost - rule.burst - rule.ahead) * rule.window / rule.limit)
    end
    rule.previous = rule.previous + taken
    rule.left = floor(rule.burst - rule.previous + 0.000001) + taken
    reset = ceil(rule.previous * rule.window / rule.limit)
  else
    reset = rule.to - now
    if not fits then wait = cost > rule.limit + rule.next(rule.left) and -1 or reset end
    rule.current = rule.current + taken
  end
  if not fits and wait >= 0 then wait = max(wait, 1) end
  answer[#answer + 1] = max(0, rule.left - taken)
  answer[#answer + 1] = reset
  answer[#answer + 1] = wait
  answer[#answer + 1] = rule.carried
  kept[#kept + 1] = string.format('%.17g %.17g %.17g', rule.start, rule.previous, rule.current)
  lasts = max(lasts, reset + rule.outlasts)
end
-- What is refused changes nothing.
if taken > 0 then redis.call('SET', KEYS[1], table.concat(kept, ' '), 'PX', ceil(lasts / 1000) + 1000) end
return answer
