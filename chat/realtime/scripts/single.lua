-- How a single Redis publishes, in front of every script.
local publish, numsub = 'PUBLISH', 'NUMSUB'

