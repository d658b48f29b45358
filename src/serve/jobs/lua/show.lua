-- The status of a job. A script and not a transaction, because a full Redis refuses every transaction.
-- KEYS: job, photo
-- Returns status and deliveries, whether there is a photo, ms until the job expires, length of its answer.
return {
  redis.call('HMGET', KEYS[1], 'status', 'deliveries'),
  redis.call('EXISTS', KEYS[2]),
  redis.call('PTTL', KEYS[1]),
  redis.call('HSTRLEN', KEYS[1], 'answer'),
}
