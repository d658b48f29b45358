-- Renews a job that a worker still works on.
-- KEYS: stream, job
-- ARGV: group, entry, worker
-- Returns 1, or 0 if the job was cancelled, answered, or given to another worker.
if redis.call('HGET', KEYS[2], 'status') ~= 'running' then
  return 0
end
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[2], ARGV[2], 1)[1]
if not pending or pending[2] ~= ARGV[3] then
  return 0
end
-- With JUSTID the number of deliveries does not change.
redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, ARGV[2], 'JUSTID')
return 1
