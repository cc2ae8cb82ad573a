-- One bucket of a fleet's limit. KEYS: its key. ARGV: microseconds from one token to the next, tokens at most,
-- tokens that are needed (0: what is wanted is taken, whatever is there), tokens that are wanted (below 0: so many are
-- given back). What is kept is when it will be full, in microseconds since 2026, by this server's clock. Answers: tokens granted, tokens left, microseconds until as many as needed are there.
local interval, burst, least, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = (time[1] - 1767225600) * 1000000 + time[2]
local room = interval * burst
-- A debt of more than a day is a day's.
local last = now + room + 86400000000
local full = math.min(math.max(tonumber(redis.call('GET', KEYS[1]) or now) or now, now), last)
-- A thousandth of a token more or less is the arithmetic's.
local there = math.floor((now + room - full) / interval + 0.001)
local granted = 0
if want < 0 then
    granted = want
elseif least == 0 then
    granted = want
elseif there >= least then
    -- At most half, so that the fleet's others find some.
    granted = math.max(least, math.min(want, math.ceil(there / 2)))
end
if granted ~= 0 then
    full = math.min(math.max(full + granted * interval, now), last)
    redis.call('SET', KEYS[1], string.format('%.3f', full), 'PX', math.max(math.ceil((full - now) / 1000), 1))
end
return { granted, math.max(there - granted, 0), math.max(math.ceil(full + least * interval - room - now), 0) }
