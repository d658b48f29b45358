-- Takes a job in, unless too many are open.
-- KEYS: stream, job, photo
-- ARGV: id, most open jobs, ms that it may wait, ms that its answer is kept, bytes of all answers, question, photo
-- Returns 1 if it is in, 0 if there are too many.
if redis.call('EXISTS', KEYS[2]) == 1 then
  return 1 -- the reply to an earlier try was lost
end
local wait, expiry = tonumber(ARGV[3]), tonumber(ARGV[4])
-- The photo first: a Redis that is full refuses the first write of a script if that would take memory, and
-- none after another write.
redis.call('SET', KEYS[3], ARGV[7], 'PX', wait)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Jobs whose photos have expired take nobody's place.
redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f', now - wait))
if redis.call('XLEN', KEYS[1]) >= tonumber(ARGV[2]) then
  redis.call('DEL', KEYS[3])
  return 0
end
local entry = redis.call('XADD', KEYS[1], '*', 'job', ARGV[1])
redis.call('HSET', KEYS[2], 'status', 'queued', 'stream', KEYS[1], 'entry', entry, 'question', ARGV[6],
  'expiry', expiry, 'keep', ARGV[5])
-- Longer than the photo, so that the client hears what became of it.
redis.call('PEXPIRE', KEYS[2], wait + expiry)
-- The stream of a model that is not served any more ends by itself.
redis.call('PEXPIRE', KEYS[1], wait + expiry)
return 1
