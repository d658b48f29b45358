-- Says that a worker lives, and forgets those that do not. Makes the stream's group of workers, if it is not
-- there (yet, or any more).
-- KEYS: stream, workers
-- ARGV: group, worker, ms that this word holds
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local holds = tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now)
redis.call('ZADD', KEYS[2], now + holds, ARGV[2])
redis.call('PEXPIRE', KEYS[2], holds)
local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[1], ARGV[1])
if consumers.err then
  redis.call('XGROUP', 'CREATE', KEYS[1], ARGV[1], '0', 'MKSTREAM')
  return 1
end
-- A worker that died keeps its name in the group until its jobs were taken over.
for _, consumer in ipairs(consumers) do
  local name, pending = consumer[2], consumer[4]
  if pending == 0 and not redis.call('ZSCORE', KEYS[2], name) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], name)
  end
end
return 1
