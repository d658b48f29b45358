-- Gives a job back.
-- KEYS: stream, job
-- ARGV: group, entry, worker, error ('' if the worker only stops)
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)[1]
if not pending or pending[2] ~= ARGV[3] then
  return 0
end
-- As in `begin`: a full Redis must accept a job that is given back.
redis.call('HDEL', KEYS[2], '')
if redis.call('HGET', KEYS[2], 'status') == 'running' then
  redis.call('HSET', KEYS[2], 'status', 'queued')
end
if ARGV[4] == '' then
  -- Marked as idle for a day, so that another worker takes it at once; this delivery does not count.
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, ARGV[2], 'IDLE', 86400000, 'RETRYCOUNT', pending[4] - 1, 'JUSTID')
else
  -- Another worker gets it after the visibility time, which is a pause before the next attempt.
  redis.call('HSET', KEYS[2], 'last_error', ARGV[4])
end
return 1
