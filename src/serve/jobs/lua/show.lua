-- How a job is doing. A script and no transaction, which a Redis that is full refuses whatever it does.
-- KEYS: job, photo
-- Returns status and deliveries, whether there is a photo, ms until the job expires, bytes of its answer.
return {
  redis.call('HMGET', KEYS[1], 'status', 'deliveries'),
  redis.call('EXISTS', KEYS[2]),
  redis.call('PTTL', KEYS[1]),
  redis.call('HSTRLEN', KEYS[1], 'answer'),
}
