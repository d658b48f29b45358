-- Removes a job. The worker that computes it notices when it renews the job.
-- KEYS: job, photo, answers, bytes of answers
-- ARGV: group
-- Returns 1, or 0 if there is no such job.
local job = redis.call('HMGET', KEYS[1], 'stream', 'entry', 'kept')
if not job[1] then
  return 0
end
redis.call('XACK', job[1], ARGV[1], job[2])
redis.call('XDEL', job[1], job[2])
if job[3] and redis.call('ZREM', KEYS[3], job[3]) == 1 then
  redis.call('DECRBY', KEYS[4], string.match(job[3], '^(%d+)'))
end
redis.call('DEL', KEYS[1], KEYS[2])
return 1
