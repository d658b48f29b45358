-- Adds a job, unless too many are open.
-- KEYS: stream, job, photo
-- ARGV: id, most open jobs, ms that it may wait, ms that its answer is kept, bytes of all answers, question, photo
-- Returns 1 if it was added, 0 if there are too many.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 1 -- added before; the reply was lost
end
local wait, expiry = tonumber(ARGV[3]), tonumber(ARGV[4])
-- The photo first: a full Redis refuses a script at its first write, if that takes memory, but not at a later
-- one.
redis.call('SET', KEYS[3], ARGV[7], 'PX', wait)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Jobs whose photos have expired do not count.
redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', now - wait))
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[2]) then
  redis.call('DEL', KEYS[3])
  return 0
end
local entry = redis.call('XADD', KEYS[1], '*', 'job', ARGV[1])
redis.call('HSET', KEYS[2], 'status', 'queued', 'stream', KEYS[1], 'entry', entry, 'question', ARGV[6],
  'expiry', expiry, 'keep', ARGV[5])
-- Kept longer than the photo, so that the client learns what happened.
redis.call('PEXPIRE', KEYS[2], wait + expiry)
-- The stream of a model that is no longer served expires.
redis.call('PEXPIRE', KEYS[1], wait + expiry)
return 1
