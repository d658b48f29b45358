-- Reports that a worker is alive, and removes workers whose reports have expired. Creates the consumer group
-- of the stream if it does not exist.
-- KEYS: stream, workers
-- ARGV: group, worker, ms until this report expires
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
-- A dead worker keeps its name in the group until other workers have taken its jobs.
for _, consumer in ipairs(consumers) do
  local name, pending = consumer[2], consumer[4]
  if pending == 0 and not redis.call('ZSCORE', KEYS[2], name) then
    redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], name)
  end
end
return 1
