-- Stores the result of a job; only the first result counts.
-- KEYS: stream, job, photo, answers, bytes of answers, dead letters
-- ARGV: group, entry, id, 'done' or 'failed', result or error, reason of a dead letter or '', prefix of job keys
-- Returns 1, or 0 if the job has a result already, was cancelled or has expired.
redis.call('XACK', KEYS[1], ARGV[1], ARGV[2])
redis.call('XDEL', KEYS[1], ARGV[2])
redis.call('DEL', KEYS[3])
local job = redis.call('HMGET', KEYS[2], 'status', 'expiry', 'keep', 'deliveries')
if job[1] ~= 'queued' and job[1] ~= 'running' then
  return 0
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local expiry, keep = tonumber(job[2]), tonumber(job[3])
local bytes = string.len(ARGV[5])
local kept = string.format('%.0f:%s', bytes, ARGV[3])
redis.call('HDEL', KEYS[2], 'question', 'last_error')
redis.call('HSET', KEYS[2], 'status', ARGV[4], 'answer', ARGV[5], 'kept', kept)
redis.call('PEXPIRE', KEYS[2], expiry)
if ARGV[6] ~= '' then
  redis.call('XADD', KEYS[6], 'MAXLEN', '=', 1000, '*', 'job', ARGV[3], 'reason', ARGV[6], 'deliveries', job[4] or '')
end
-- All answers together take a limited number of bytes: the ones that expire first are removed first.
redis.call('ZADD', KEYS[4], now + expiry, kept)
local total = redis.call('INCRBY', KEYS[5], bytes)
while true do
  local oldest = redis.call('ZRANGE', KEYS[4], 0, 0, 'WITHSCORES')
  if not oldest[1] then
    redis.call('DEL', KEYS[5])
    break
  end
  local is_over = tonumber(oldest[2]) <= now
  if oldest[1] == kept or not (is_over or total > keep) then
    break
  end
  redis.call('ZREM', KEYS[4], oldest[1])
  local size, id = string.match(oldest[1], '^(%d+):(.*)$')
  total = redis.call('DECRBY', KEYS[5], size)
  redis.call('DEL', ARGV[7] .. id)
end
-- These keys expire, too, once no more jobs are answered.
redis.call('PEXPIRE', KEYS[4], expiry * 2)
redis.call('PEXPIRE', KEYS[5], expiry * 2)
return 1
