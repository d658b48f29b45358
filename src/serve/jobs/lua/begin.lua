-- Begins a job that a worker was given.
-- KEYS: stream, job, photo
-- ARGV: group, entry, worker, most deliveries, most bytes of a photo
-- Returns 'gone'; 'lost'; 'expired'; 'large'; 'dead', deliveries, last error; or
-- 'run', deliveries, question, photo.
local status = redis.call('HGET', KEYS[2], 'status')
if status ~= 'queued' and status ~= 'running' then
  -- Cancelled, answered, or expired.
  redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
  redis.call('XDEL', KEYS[1], ARGV[2])
  return { 'gone' }
end
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)[1]
if not pending or pending[2] ~= ARGV[3] then
  return { 'lost' }
end
local deliveries = pending[4]
-- A full Redis accepts all writes of a script whose first write takes no memory. This one does not, so that
-- jobs can be finished and make room.
redis.call('HDEL', KEYS[2], '')
redis.call('HSET', KEYS[2], 'deliveries', deliveries)
if deliveries > tonumber(ARGV[4]) then
  return { 'dead', deliveries, redis.call('HGET', KEYS[2], 'last_error') or '' }
end
local bytes = redis.call('STRLEN', KEYS[3])
if bytes == 0 then
  return { 'expired' }
end
if bytes > tonumber(ARGV[5]) then
  return { 'large' }
end
redis.call('HSET', KEYS[2], 'status', 'running')
return { 'run', deliveries, redis.call('HGET', KEYS[2], 'question'), redis.call('GET', KEYS[3]) }
