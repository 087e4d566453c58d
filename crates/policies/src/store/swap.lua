-- Changes a value if it is still the one that is expected. ARGV: what is expected; what takes its place, or nothing for
-- the same; how long that lasts in milliseconds, or 0 to forget it. Returns whether it was.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == '0' then
  redis.call('DEL', KEYS[1])
elseif ARGV[2] == '' then
  redis.call('PEXPIRE', KEYS[1], ARGV[3])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
