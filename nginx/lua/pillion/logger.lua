-- Hands log lines to pillion, with the functions of lua-resty-logger-socket: init, initted, log, flush, and stats.
--
-- log() puts a line into a buffer of the worker and never waits. One timer at a time sends what is there over one
-- kept connection to pillion's unix stream; what could not be sent stays first in line and is tried again, with
-- growing pauses. Lines that find the buffer full are dropped, counted, and told of in pillion's log by a record
-- `log_gap`. pillion does the shipping, so the keys that are about a log server are checked and have no effect.

local semaphore = require "ngx.semaphore"
local clear = require "table.clear"

local byte = string.byte
local concat = table.concat
local exiting = ngx.worker.exiting
local min = math.min

local _M = { _VERSION = "0.1.0" }

-- A write of so many bytes to a unix stream is taken whole or not at all, so that a resend repeats no half line.
local BATCH = 32 * 1024
-- The longest pause between two tries, and the time that lines wait when there are too few for a flush, in seconds.
local LONGEST_PAUSE = 2
local FEW_LINES_WAIT = 1
local NEWLINE = byte("\n")

local config = {
    path = "/run/pillion/lines.sock",
    flush_limit = 4096,
    drop_limit = 8 * 1024 * 1024,
    timeout = 1000,
    max_retry_times = 3,
    retry_interval = 100,
}
local initialized = false

-- Lines and the newlines they lack. `waiting` is filled by log() and `leaving` emptied by the sender, from `at` on;
-- when that is empty they change places, so that the order is kept and both stay dense.
local waiting, waiting_n = {}, 0
local leaving, leaving_n, at = {}, 0, 1
local size = 0

local armed = {} -- which of the timers "soon", "later" and "retry" are pending
local running = false
local failures = 0 -- tries that failed since the last one that did not
local last_error
local flushers = {}

local dropped = { lines = 0, bytes = 0 }
local untold = { lines = 0, bytes = 0 }
local sent_bytes = 0

-- === configuration ===

local function is_amount(value)
    return type(value) == "number" and value >= 0 and value < math.huge
end

local function is_positive(value)
    return is_amount(value) and value > 0
end

local function typed(key, kind, text)
    return function(value)
        if type(value) ~= kind then
            return '"' .. key .. '" must be ' .. text
        end
    end
end

local function amount(key, fits)
    return function(value)
        if not fits(value) then
            return 'invalid "' .. key .. '"'
        end
    end
end

-- In a fixed order, so that of several mistakes always the same one is reported.
local checks = {
    { "host", typed("host", "string", "a string") },
    { "port", function(value)
        if type(value) ~= "number" then
            return '"port" must be a number'
        end
        if not (value >= 0 and value <= 65535 and value % 1 == 0) then
            return '"port" out of range 0~65535'
        end
    end },
    { "path", typed("path", "string", "a string") },
    { "sock_type", function(value)
        if type(value) ~= "string" then
            return '"sock_type" must be a string'
        end
        if value ~= "tcp" and value ~= "udp" then
            return '"sock_type" must be "tcp" or "udp"'
        end
    end },
    { "flush_limit", amount("flush_limit", is_amount) },
    { "drop_limit", amount("drop_limit", is_amount) },
    { "timeout", amount("timeout", is_amount) },
    { "max_retry_times", amount("max_retry_times", is_amount) },
    { "retry_interval", amount("retry_interval", is_amount) },
    { "pool_size", amount("pool_size", is_positive) },
    { "max_buffer_reuse", amount("max_buffer_reuse", is_amount) },
    { "periodic_flush", amount("periodic_flush", is_positive) },
    { "ssl", typed("ssl", "boolean", "a boolean value") },
    { "ssl_verify", typed("ssl_verify", "boolean", "a boolean value") },
    { "sni_host", typed("sni_host", "string", "a string") },
}

-- Takes the keys that `user_config` names; the others stay as they are. After an error nothing has changed.
function _M.init(user_config)
    if type(user_config) ~= "table" then
        return nil, "user_config must be a table"
    end
    local new = {}
    for key, value in pairs(config) do
        new[key] = value
    end
    for _, check in ipairs(checks) do
        local key, fault = check[1], check[2]
        local value = user_config[key]
        if value ~= nil then
            local err = fault(value)
            if err then
                return nil, err
            end
            if not (key == "path" and value == "") then
                new[key] = value
            end
        end
    end
    if new.flush_limit >= new.drop_limit then
        return nil, '"flush_limit" should be < "drop_limit"'
    end
    config = new
    initialized = true
    return true
end

function _M.initted()
    return initialized
end

-- === buffer ===

local function push(line)
    waiting_n = waiting_n + 1
    waiting[waiting_n] = line
    size = size + #line
    if byte(line, -1) ~= NEWLINE then
        waiting_n = waiting_n + 1
        waiting[waiting_n] = "\n"
        size = size + 1
    end
end

-- Puts down what was dropped, at the place in the order where it is missing.
local function tell_gap()
    if untold.lines == 0 then
        return
    end
    push(string.format(
        '{"action":"log_gap","log.level":"error","gap.lines":%d,"gap.bytes":%d,"gap.cause":"overflow",' ..
        '"nginx.pid":%d,"worker_id":%d,"desc":"the buffer of an nginx worker was full"}',
        untold.lines, untold.bytes, ngx.worker.pid(), ngx.worker.id() or -1))
    untold.lines, untold.bytes = 0, 0
end

-- The next lines that go together, and the place after them; nil when there are none.
local function next_batch()
    if at > leaving_n then
        if waiting_n == 0 then
            tell_gap()
        end
        if waiting_n == 0 then
            return nil
        end
        clear(leaving)
        leaving, waiting = waiting, leaving
        leaving_n, waiting_n, at = waiting_n, 0, 1
    end
    local stop, bytes = at, 0
    repeat
        bytes = bytes + #leaving[stop]
        stop = stop + 1
        -- A newline never goes without its line.
        if stop <= leaving_n and leaving[stop] == "\n" then
            bytes = bytes + 1
            stop = stop + 1
        end
    until stop > leaving_n or bytes + #leaving[stop] + 1 > BATCH
    return concat(leaving, "", at, stop - 1), stop
end

-- === sending ===

local function connect()
    local sock, err = ngx.socket.tcp()
    if not sock then
        return nil, err
    end
    sock:settimeout(config.timeout)
    local ok
    ok, err = sock:connect("unix:" .. config.path)
    if not ok then
        return nil, "try to connect to the log server failed: " .. (err or "unknown")
    end
    return sock
end

-- Sends until nothing is left. Bytes sent, or nil and why not; what was not sent stays.
local function send_all()
    local batch, stop = next_batch()
    if not batch then
        return 0
    end
    local sock, err = connect()
    if not sock then
        return nil, err
    end
    local sent = 0
    while batch do
        local ok
        ok, err = sock:send(batch)
        if not ok then
            sock:close()
            return nil, err
        end
        failures = 0
        sent, sent_bytes, size = sent + #batch, sent_bytes + #batch, size - #batch
        at = stop
        batch, stop = next_batch()
    end
    -- A connection that is not kept costs the next flush a new one, and this one nothing.
    if exiting() or not sock:setkeepalive(0, 1) then
        sock:close()
    end
    return sent
end

-- The pause before the next try, in seconds.
local function pause()
    local doubled = config.retry_interval / 1000 * 2 ^ min(failures - 1, 16)
    return min(math.max(doubled, 0.01), LONGEST_PAUSE)
end

local function try()
    local ok, sent, err = pcall(send_all)
    if not ok then
        sent, err = nil, sent
    end
    if not sent then
        failures = failures + 1
    end
    return sent, err
end

-- What is left when the worker ends and nobody takes it.
local function give_up(err)
    local bytes, lines = size, 0
    for _, list in ipairs { { leaving, at, leaving_n }, { waiting, 1, waiting_n } } do
        for i = list[2], list[3] do
            lines = lines + (list[1][i] == "\n" and 0 or 1)
        end
    end
    ngx.log(ngx.ERR, "pillion.logger: ", lines + untold.lines, " log lines are lost with this worker: ", err)
    dropped.lines, dropped.bytes = dropped.lines + lines, dropped.bytes + bytes
    clear(leaving)
    clear(waiting)
    leaving_n, waiting_n, at, size = 0, 0, 1, 0
    untold.lines, untold.bytes = 0, 0
end

local arm

local function run()
    running = true
    local sent, err = try()
    local tries = 1
    -- A worker that ends has no later: it tries here, as often as it was told to.
    while not sent and exiting() and tries <= config.max_retry_times do
        ngx.sleep(pause())
        sent, err = try()
        tries = tries + 1
    end
    running = false
    if not sent then
        if failures > config.max_retry_times then
            last_error = "try to send log messages to the log server failed after " .. config.max_retry_times
                .. " retries: " .. err
            -- Once per outage: what each line says next is in stats() and in what log() returns.
            if failures == config.max_retry_times + 1 and not exiting() then
                ngx.log(ngx.ERR, "pillion.logger: ", last_error, "; lines are kept up to drop_limit")
            end
        end
        if exiting() then
            give_up(err)
        else
            arm("retry", pause())
        end
    end
    local waiters = flushers
    flushers = {}
    for _, waiter in ipairs(waiters) do
        waiter.sent, waiter.err = sent, err
        waiter.ended:post(1)
    end
end

local function on_timer(_, kind)
    armed[kind] = false
    if not running then
        run()
    end
end

-- Starts a timer, unless the same one is pending.
function arm(kind, delay)
    if armed[kind] then
        return
    end
    -- Where timers are not allowed it throws; the next line tries again.
    local allowed, ok, err = pcall(ngx.timer.at, delay, on_timer, kind)
    if allowed and ok then
        armed[kind] = true
    else
        last_error = allowed and err or ok
    end
end

-- === what users call ===

-- Takes a line; one without a newline gets one. The bytes taken: all of them, or 0 when the line was dropped; and
-- what went wrong since it was last told.
function _M.log(msg)
    if not initialized then
        return nil, "not initialized"
    end
    if type(msg) ~= "string" then
        msg = tostring(msg)
    end
    local len = #msg
    local needed = len
    if len > 0 and byte(msg, -1) ~= NEWLINE then
        needed = len + 1
    end
    local ends = exiting()
    local full = size + needed > config.drop_limit
    if full then
        dropped.lines, dropped.bytes = dropped.lines + 1, dropped.bytes + needed
        if untold.lines == 0 then
            last_error = "log lines are dropped: drop_limit is reached"
        end
        untold.lines, untold.bytes = untold.lines + 1, untold.bytes + needed
        len = 0
    elseif len > 0 then
        tell_gap()
        push(msg)
    end
    -- A sender at work sees the line, and while pillion is away the next try has its time.
    if not running and (size > 0 or full) and (ends or not armed.retry) then
        if ends or size + (full and needed or 0) >= config.flush_limit then
            arm("soon", 0)
        else
            arm("later", config.periodic_flush or FEW_LINES_WAIT)
        end
    end
    local err = last_error
    last_error = nil
    return len, err
end

-- Sends what is there. The bytes sent; true when nothing was there, or it is under way, or this phase may not wait;
-- nil and an error when it could not be sent, and is tried again.
function _M.flush()
    if not initialized or running or (size == 0 and untold.lines == 0) then
        return true
    end
    arm("soon", 0)
    -- The timer sends, and not this request: a request can be cut off at any time.
    local ended = semaphore.new()
    local waiter = { ended = ended }
    flushers[#flushers + 1] = waiter
    local allowed, ok, err = pcall(ended.wait, ended, 1 + 2 * config.timeout / 1000)
    if not allowed then
        return true
    end
    if not ok then
        return nil, err
    end
    if not waiter.sent then
        last_error = waiter.err
        return nil, waiter.err
    end
    return waiter.sent
end

-- What this worker has in its buffer, has sent, and has dropped.
function _M.stats()
    return {
        queued_bytes = size,
        sent_bytes = sent_bytes,
        dropped_lines = dropped.lines,
        dropped_bytes = dropped.bytes,
    }
end

return _M
