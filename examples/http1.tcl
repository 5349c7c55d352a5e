# http1.tcl --
#
#   HTTP/1.1 for event-driven servers, in two parts that can be used apart:
#
#   - a parser without any I/O: bytes go in, requests come out
#   - a handler for accepted channels, which reads requests, lets the application
#     answer them, and keeps the connection for further ones
#
#   Each connection has a coroutine, so an application may wait (http1::sleep,
#   http1::chunk) while the process serves other connections. No client can make
#   it wait for long: everything has a limit in size or time, see `limits`.
#
#   tcllib has a package httpd. It answers with HTTP/1.0 and closes after each
#   request, knows no chunked bodies, and has no limits for bodies or slow clients.
#
#   A request is a dict:
#     method target version    as in the request line: GET /a%20b?c=d 1.1
#     path query               /a b and c=d: the first is decoded, the second is not
#     headers                  dict; names in lower case, values of equal names joined
#     body                     bytes
#     keepalive                whether the client wants to go on after the answer
#     channel address port     of the client; not from the parser
#   An answer is a dict with status, headers (name value ...) and body (bytes), see
#   http1::reply and http1::text. For long ones there is http1::begin.
#   `throw {HTTP status} message`, from anywhere below the application's command,
#   answers with that status.

package require Tcl 8.6-

namespace eval http1 {
    namespace export {[a-z]*}

    # What a client may take. Sizes in bytes, times in milliseconds.
    variable limits {
        header    8192
        body      1048576
        first     15000
        idle      15000
        request   20000
        write     20000
        handshake 10000
        draining  2000
        linger    2000
    }
    # header     request line and headers; also the trailers of a chunked body
    # body       a request's body
    # first      from the connection to the first byte
    # idle       between requests
    # request    from the first byte of a request to its last
    # write      without progress while an answer is sent
    # handshake  of TLS
    # draining   between requests, while the process is about to end
    # linger     for the client to notice that the server closed first

    # Options of tls::import, see http1::secure; empty: no TLS.
    variable tls {}
    # Called with a channel whose client does not read its answer, before it is closed:
    # close alone goes on in the background, until the client has read all.
    variable abortCmd {}
    # Called with level (info or error) and message.
    variable logCmd http1::LogToStderr

    # Set once the process is about to end.
    variable draining 0
    # Coroutines of connections that wait for a request -> 1.
    variable idle
    array set idle {}
    # channel -> how the body of an answer that was begun is sent: chunked, plain
    # (until the connection ends) or none (for HEAD).
    variable streams
    array set streams {}
    # channel -> whether the answer to the current request promises to go on.
    variable lasting
    array set lasting {}
    variable serial 0
    # The second for which the Date header was made, and that header.
    variable dated {0 {}}

    variable token {[-!#$%&'*+.^_`|~0-9A-Za-z]+}
    variable reasons {
        100 Continue 200 OK 201 Created 202 Accepted 204 {No Content}
        301 {Moved Permanently} 302 Found 303 {See Other} 304 {Not Modified}
        307 {Temporary Redirect} 308 {Permanent Redirect}
        400 {Bad Request} 401 Unauthorized 403 Forbidden 404 {Not Found}
        405 {Method Not Allowed} 406 {Not Acceptable} 408 {Request Timeout} 409 Conflict
        410 Gone 411 {Length Required} 413 {Content Too Large} 414 {URI Too Long}
        415 {Unsupported Media Type} 417 {Expectation Failed} 422 {Unprocessable Content}
        429 {Too Many Requests} 431 {Request Header Fields Too Large}
        500 {Internal Server Error} 501 {Not Implemented} 502 {Bad Gateway}
        503 {Service Unavailable} 504 {Gateway Timeout} 505 {HTTP Version Not Supported}
    }
}

# ---- the parser ------------------------------------------------------------------

# http1::parser name ?limits? --
#
#   Makes the array of that name a parser. Its elements:
#     buffer at     what came, and where the first byte that was not used stands
#     seen          up to here there is no end of a header
#     phase         the procedure that goes on: Head Sized Chunk ChunkData Trailer; Done
#     need          bytes of the body or of a chunk still to come
#     body request  what is known of the request
#     continue      whether the client waits for "100 Continue"
#     limits        as http1::limits
proc http1::parser {parserName {own {}}} {
    upvar 1 $parserName parser
    variable limits
    array set parser [list buffer {} at 0 limits [dict merge $limits $own]]
    NextRequest parser
}

# Bytes from the client, in any portions.
proc http1::feed {parserName bytes} {
    upvar 1 $parserName parser
    if {$parser(at) > 0} {
        set parser(buffer) [string range $parser(buffer) $parser(at) end]
        incr parser(seen) -$parser(at)
        set parser(at) 0
    }
    append parser(buffer) $bytes
}

# The next request, or an empty string until enough has come. Throws {HTTP status} when
# the client made a mistake: answer with that status, and give up the connection.
proc http1::next {parserName} {
    upvar 1 $parserName parser
    while {$parser(phase) ne "Done"} {
        if {![$parser(phase) parser]} {
            return {}
        }
    }
    set request $parser(request)
    dict set request body $parser(body)
    NextRequest parser
    return $request
}

# Whether a part of a request has come.
proc http1::started {parserName} {
    upvar 1 $parserName parser
    return [expr {$parser(phase) ne "Head" || $parser(at) < [string length $parser(buffer)]}]
}

# True once, when the client wants to be told to send its body.
proc http1::awaitsContinue {parserName} {
    upvar 1 $parserName parser
    set awaits [expr {$parser(continue) && $parser(at) == [string length $parser(buffer)]}]
    set parser(continue) 0
    return $awaits
}

proc http1::NextRequest {parserName} {
    upvar 1 $parserName parser
    array set parser [list phase Head seen $parser(at) need 0 body {} request {} continue 0]
}

proc http1::Limit {parserName name} {
    upvar 1 $parserName parser
    return [dict get $parser(limits) $name]
}

proc http1::Bad {message {status 400}} {
    throw [list HTTP $status] $message
}

# The lines up to an empty one, in the variable; returns 0 if that has not come.
proc http1::Block {parserName linesName} {
    upvar 1 $parserName parser $linesName lines
    if {![regexp -indices -start $parser(seen) {\n\r?\n} $parser(buffer) end]} {
        set length [string length $parser(buffer)]
        # The last two may belong to the end.
        set parser(seen) [expr {max($parser(at), $length - 2)}]
        CheckBlockSize parser $length
        return 0
    }
    set next [expr {[lindex $end 1] + 1}]
    CheckBlockSize parser $next
    set block [string range $parser(buffer) $parser(at) [expr {$next - 1}]]
    # Lenient servers and strict proxies disagree on where a request ends: that is
    # how requests are smuggled.
    if {[regexp {(?:^|[^\r])\n|\r(?:[^\n]|$)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]} $block]} {
        Bad "a control character, or a line that does not end with CR LF"
    }
    set lines [lrange [split [string map {\r\n \n} $block] \n] 0 end-2]
    set parser(at) $next
    set parser(seen) $next
    return 1
}

proc http1::CheckBlockSize {parserName end} {
    upvar 1 $parserName parser
    if {$end - $parser(at) > [Limit parser header]} {
        set line [string first \n $parser(buffer) $parser(at)]
        if {$parser(phase) eq "Head" && ($line < 0 ||
            $line - $parser(at) > [Limit parser header])} {
            Bad "the request line is too long" 414
        }
        Bad "the headers are too long" 431
    }
}

proc http1::Head {parserName} {
    upvar 1 $parserName parser
    # Clients of old send an empty line after a body.
    while {[string range $parser(buffer) $parser(at) [expr {$parser(at) + 1}]] eq "\r\n"} {
        incr parser(at) 2
    }
    set parser(seen) [expr {max($parser(at), $parser(seen))}]
    if {![Block parser lines]} {
        return 0
    }
    set request [RequestLine [lindex $lines 0]]
    set headers [Fields [lrange $lines 1 end]]
    dict set request headers $headers
    CheckHost request
    set connection [Words $headers connection]
    dict set request keepalive [expr {[dict get $request version] eq "1.1"
        ? "close" ni $connection : "keep-alive" in $connection}]
    set parser(request) $request
    set parser(phase) [BodyPhase parser]
    return 1
}

proc http1::RequestLine {line} {
    variable token
    # An expression that gets the parts, too, takes many times as long.
    if {![regexp "^$token \[!-~\]+ HTTP/\[0-9\]\\.\[0-9\]\$" $line]} {
        Bad "not a request line"
    }
    lassign [split $line { }] method target version
    scan $version HTTP/%d.%d major minor
    if {$major != 1} {
        Bad "HTTP/$major.$minor is not spoken here" 505
    }
    # A later minor version is compatible.
    set request [dict create method $method target $target version 1.[expr {min($minor, 1)}]]
    return [Target $request]
}

# Adds path and query, and the host if it is there.
proc http1::Target {request} {
    set target [dict get $request target]
    if {[dict get $request method] eq "CONNECT"} {
        Bad "this is no proxy" 501
    }
    if {[regexp -nocase {^https?://([^/?#]+)(.*)$} $target -> host target]} {
        dict set request host $host
        set target [regsub {^(?=\?|$)} $target /]
    }
    if {$target eq "*" && [dict get $request method] eq "OPTIONS"} {
        return [dict merge $request {path * query {}}]
    }
    if {![regexp {^/[^#]*$} $target]} {
        Bad "not a target"
    }
    set end [string first ? "$target?"]
    dict set request path [decode [string range $target 0 $end-1]]
    dict set request query [string range $target $end+1 end]
    return $request
}

# Header lines as a dict.
proc http1::Fields {lines} {
    variable token
    set fields [dict create]
    foreach line $lines {
        if {![regexp "^$token:" $line]} {
            Bad "not a header"
        }
        set colon [string first : $line]
        set name [string tolower [string range $line 0 $colon-1]]
        set value [string trim [string range $line $colon+1 end] " \t"]
        if {[dict exists $fields $name]} {
            if {$name in {host content-length transfer-encoding}} {
                Bad "two headers $name"
            }
            set separator [expr {$name eq "cookie" ? "; " : ", "}]
            set value [dict get $fields $name]$separator$value
        }
        dict set fields $name $value
    }
    return $fields
}

# The words of a header that is a list, in lower case.
proc http1::Words {headers name} {
    if {![dict exists $headers $name]} {
        return {}
    }
    return [lmap word [split [string tolower [dict get $headers $name]] ,] {string trim $word}]
}

# A host in the request line takes precedence.
proc http1::CheckHost {requestName} {
    upvar 1 $requestName request
    if {![dict exists $request headers host]} {
        if {[dict get $request version] eq "1.1"} {
            Bad "no host"
        }
        dict set request headers host {}
    }
    if {[dict exists $request host]} {
        dict set request headers host [dict get $request host]
        dict unset request host
    }
    if {![regexp {^[][0-9A-Za-z._~!$&'()*+,;=:%-]*$} [dict get $request headers host]]} {
        Bad "not a host"
    }
}

# How the body comes: the phase for it.
proc http1::BodyPhase {parserName} {
    upvar 1 $parserName parser
    set headers [dict get $parser(request) headers]
    set sized [dict exists $headers content-length]
    if {[dict exists $headers transfer-encoding]} {
        CheckCoding [Words $headers transfer-encoding] $sized [dict get $parser(request) version]
        set phase Chunk
    } elseif {$sized} {
        set parser(need) [BodySize parser [dict get $headers content-length]]
        set phase [expr {$parser(need) > 0 ? "Sized" : "Done"}]
    } else {
        set phase Done
    }
    if {[dict exists $headers expect] && [dict get $parser(request) version] eq "1.1"} {
        if {[Words $headers expect] ne "100-continue"} {
            Bad "unknown expectation" 417
        }
        set parser(continue) [expr {$phase ne "Done"}]
    }
    return $phase
}

# Two lengths, or none that is sure, are how requests are smuggled.
proc http1::CheckCoding {codings sized version} {
    if {$sized || $version ne "1.1" || [lindex $codings end] ne "chunked"} {
        Bad "the length of the body is not clear"
    }
    if {$codings ne "chunked"} {
        Bad "unknown transfer coding" 501
    }
}

proc http1::BodySize {parserName digits} {
    upvar 1 $parserName parser
    if {![regexp {^[0-9]+$} $digits]} {
        Bad "not a length"
    }
    if {[string length [string trimleft $digits 0]] > 15 ||
        [scan $digits %lld] > [Limit parser body]} {
        Bad "the body is too large" 413
    }
    return [scan $digits %lld]
}

proc http1::Sized {parserName} {
    upvar 1 $parserName parser
    if {[string length $parser(buffer)] - $parser(at) < $parser(need)} {
        return 0
    }
    set end [expr {$parser(at) + $parser(need)}]
    set parser(body) [string range $parser(buffer) $parser(at) [expr {$end - 1}]]
    set parser(at) $end
    set parser(phase) Done
    return 1
}

# A line with the size of a chunk, and perhaps extensions.
proc http1::Chunk {parserName} {
    upvar 1 $parserName parser
    set end [string first \n $parser(buffer) $parser(at)]
    if {$end < 0} {
        if {[string length $parser(buffer)] - $parser(at) > 256} {
            Bad "not a chunk"
        }
        return 0
    }
    set line [string range $parser(buffer) $parser(at) $end]
    if {$end - $parser(at) > 256 ||
        ![regexp {^0*([0-9A-Fa-f]{1,7})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n$} $line -> hex]} {
        Bad "not a chunk"
    }
    set parser(at) [expr {$end + 1}]
    set parser(need) [scan $hex %x]
    if {$parser(need) == 0} {
        set parser(seen) $parser(at)
        set parser(phase) Trailer
    } elseif {[string length $parser(body)] + $parser(need) > [Limit parser body]} {
        Bad "the body is too large" 413
    } else {
        set parser(phase) ChunkData
    }
    return 1
}

proc http1::ChunkData {parserName} {
    upvar 1 $parserName parser
    set end [expr {$parser(at) + $parser(need)}]
    if {[string length $parser(buffer)] < $end + 2} {
        return 0
    }
    if {[string range $parser(buffer) $end [expr {$end + 1}]] ne "\r\n"} {
        Bad "a chunk of another length"
    }
    append parser(body) [string range $parser(buffer) $parser(at) [expr {$end - 1}]]
    set parser(at) [expr {$end + 2}]
    set parser(phase) Chunk
    return 1
}

# Checked, and not used.
proc http1::Trailer {parserName} {
    upvar 1 $parserName parser
    set start [string range $parser(buffer) $parser(at) [expr {$parser(at) + 1}]]
    if {$start eq "\r\n"} {
        incr parser(at) 2
    } elseif {[string match "\n*" $start]} {
        Bad "a line that does not end with CR LF"
    } elseif {[Block parser lines]} {
        Fields $lines
    } else {
        return 0
    }
    set parser(phase) Done
    return 1
}

# ---- for applications: requests --------------------------------------------------

# The text that %XX stand for, as UTF-8.
proc http1::decode {text} {
    # Most often nothing is encoded, and `subst` is slow with a text that it does not know.
    if {[regexp {^[!-$&-~]*$} $text]} {
        return $text
    }
    if {[regexp {%(?![0-9A-Fa-f]{2})} $text]} {
        Bad "not an encoded text"
    }
    set bytes [subst -nocommands -novariables \
        [regsub -all {%(..)} [string map {\\ \\\\} $text] {\\x\1}]]
    if {[catch {encoding convertfrom utf-8 $bytes} decoded]} {
        Bad "not UTF-8"
    }
    return $decoded
}

# The parameters of a query or a form, as a dict; of equal names the last.
proc http1::parameters {query} {
    set parameters [dict create]
    foreach pair [split [string map {+ %20} $query] &] {
        regexp {^([^=]*)=?(.*)$} $pair -> name value
        if {$name ne ""} {
            dict set parameters [decode $name] [decode $value]
        }
    }
    return $parameters
}

# http1::route routes request --
#
#   The answer of the command that a dict has for the path and the method:
#
#     /path {GET cmd POST cmd} /other {GET cmd}
#
#   HEAD is answered with what GET would be.
proc http1::route {routes request} {
    set method [dict get $request method]
    set path [dict get $request path]
    if {$method ni {GET HEAD POST PUT PATCH DELETE OPTIONS}} {
        Bad "unknown method" 501
    }
    if {![dict exists $routes $path]} {
        Bad "there is no $path" 404
    }
    set commands [dict get $routes $path]
    set served [expr {$method eq "HEAD" ? "GET" : $method}]
    if {![dict exists $commands $served]} {
        set allowed [dict keys $commands]
        if {"GET" in $allowed} {
            lappend allowed HEAD
        }
        return [text "$path does not take $method\n" 405 Allow [join $allowed {, }]]
    }
    return [{*}[dict get $commands $served] $request]
}

# ---- for applications: answers -----------------------------------------------------

# An answer: a body of bytes, and headers.
proc http1::reply {status body args} {
    return [dict create status $status headers $args body $body]
}

# An answer that is text.
proc http1::text {text {status 200} args} {
    return [reply $status [encoding convertto utf-8 $text] \
        Content-Type "text/plain; charset=utf-8" {*}$args]
}

# http1::begin request status ?name value ...? --
#
#   Sends the head of an answer whose length is not known; http1::chunk sends
#   its body, in parts. What the application returns after that does not matter.
proc http1::begin {request status args} {
    variable streams
    set channel [dict get $request channel]
    if {[dict get $request version] eq "1.1"} {
        set how chunked
        set headers {Transfer-Encoding chunked}
    } else {
        dict set request keepalive 0
        set how plain
        set headers {}
    }
    if {[dict get $request method] eq "HEAD"} {
        set how none
    }
    Send $channel [AnswerHead $request $status [list {*}$args {*}$headers]]
    set streams($channel) $how
}

# Sends bytes of the body. Returns when the client has taken most of what was sent.
proc http1::chunk {request bytes} {
    variable streams
    set channel [dict get $request channel]
    if {$bytes eq "" || $streams($channel) eq "none"} {
        return
    }
    if {$streams($channel) eq "chunked"} {
        set bytes [format %x [string length $bytes]]\r\n$bytes\r\n
    }
    Send $channel $bytes
}

# Lets other connections be served for so long.
proc http1::sleep {ms} {
    after $ms [info coroutine]
    yield
}

# ---- answers as bytes --------------------------------------------------------------

# Notes for the connection whether it lasts.
proc http1::AnswerHead {request status headers} {
    variable reasons
    variable draining
    variable lasting
    set last [expr {$draining || ![dict get $request keepalive]}]
    set lasting([dict get $request channel]) [expr {!$last}]
    if {$last} {
        lappend headers Connection close
    } elseif {[dict get $request version] eq "1.0"} {
        lappend headers Connection keep-alive
    }
    set head "HTTP/1.1 $status [dict get $reasons $status]\r\n[Date]"
    foreach {name value} $headers {
        if {[regexp {[\r\n\0]} $name$value]} {
            error "the header \"$name\" has a value of several lines"
        }
        append head "$name: $value\r\n"
    }
    return $head\r\n
}

proc http1::Answer {request answer} {
    set status [dict get $answer status]
    set headers [dict get $answer headers]
    if {$status in {204 304}} {
        return [AnswerHead $request $status $headers]
    }
    set body [dict get $answer body]
    lappend headers Content-Length [string length $body]
    set head [AnswerHead $request $status $headers]
    return [expr {[dict get $request method] eq "HEAD" ? $head : "$head$body"}]
}

proc http1::Date {} {
    variable dated
    set now [clock seconds]
    if {[lindex $dated 0] != $now} {
        set date [clock format $now -gmt 1 -format {%a, %d %b %Y %H:%M:%S GMT}]
        set dated [list $now "Date: $date\r\n"]
    }
    return [lindex $dated 1]
}

# ---- connections -------------------------------------------------------------------

# http1::serve appCmd channel address port --
#
#   Serves a client until it or a limit ends the connection. appCmd gets a request
#   and returns an answer.
proc http1::serve {appCmd channel address port} {
    variable serial
    coroutine connection[incr serial] http1::Connection $appCmd $channel \
        [dict create channel $channel address $address port $port]
    return
}

# The process is about to end: answers say that they are the last ones of their
# connections, and who has nothing to ask is closed soon.
proc http1::drain {args} {
    variable draining 1
    variable idle
    foreach coroutine [array names idle] {
        $coroutine drain
    }
}

proc http1::LogToStderr {level message} {
    catch {puts stderr "$level: $message"}
}

proc http1::Log {level message} {
    variable logCmd
    uplevel #0 [list {*}$logCmd $level $message]
}

proc http1::Connection {appCmd channel client} {
    variable streams
    variable lasting
    variable draining
    try {
        chan configure $channel -blocking 0 -translation binary -buffering none -buffersize 16384
        StartTls $channel $client
        parser parser
        # Who has just connected has something to ask.
        set patience first
        while {[Exchange parser $appCmd $client $patience]} {
            set patience [expr {$draining ? "draining" : "idle"}]
        }
    } trap {HTTP1 GONE} {} {
        # The client left, or was too slow.
    } on error {message options} {
        Log error [dict get $options -errorinfo]
    } finally {
        unset -nocomplain streams($channel) lasting($channel)
        catch {close $channel}
    }
}

# A request and its answer. Returns whether another may follow.
proc http1::Exchange {parserName appCmd client patience} {
    upvar 1 $parserName parser
    variable lasting
    set channel [dict get $client channel]
    try {
        set received [Receive parser $channel $patience]
    } trap HTTP {message options} {
        # What matters of a request that nobody could read.
        set request [dict merge $client {method GET version 1.1 keepalive 0}]
        Send $channel [Answer $request [Failure $message $options]]
        Linger $channel
        return 0
    }
    if {$received eq ""} {
        return 0
    }
    set request [dict merge $client $received]
    Perform $appCmd $request
    if {!$lasting($channel) && [dict get $request keepalive]} {
        Linger $channel
    }
    return $lasting($channel)
}

# The next request, or an empty string if none will come.
proc http1::Receive {parserName channel patience} {
    upvar 1 $parserName parser
    variable limits
    set deadline [expr {[clock milliseconds] + [dict get $limits $patience]}]
    set begun 0
    # Who has been served waits: others have their turn before its next request.
    set look [expr {$patience eq "first"}]
    while {[set request [next parser]] eq ""} {
        if {!$begun && [started parser]} {
            set begun 1
            set deadline [expr {[clock milliseconds] + [dict get $limits request]}]
        }
        if {[awaitsContinue parser]} {
            Send $channel "HTTP/1.1 100 Continue\r\n\r\n"
        }
        if {$look} {
            set bytes [Read $channel]
            if {$bytes ne ""} {
                feed parser $bytes
                continue
            }
            if {[eof $channel]} {
                return ""
            }
        }
        set look 1
        switch [WaitForRequest $channel $deadline $begun $patience] {
            timeout {
                if {$begun} {
                    Bad "the request took too long" 408
                }
                return ""
            }
            drain {
                set soon [expr {[clock milliseconds] + [dict get $limits draining]}]
                set deadline [expr {min($deadline, $soon)}]
            }
        }
    }
    return $request
}

# Between requests, also until the process is about to end.
proc http1::WaitForRequest {channel deadline begun patience} {
    variable idle
    set between [expr {!$begun && $patience ne "first"}]
    if {$between} {
        set idle([info coroutine]) 1
    }
    set what [Wait $channel readable $deadline]
    unset -nocomplain idle([info coroutine])
    return $what
}

# Until the event, the deadline or http1::drain: readable, writable, timeout or drain.
proc http1::Wait {channel event deadline} {
    set self [info coroutine]
    set timer [after [expr {max(0, $deadline - [clock milliseconds])}] [list $self timeout]]
    if {[catch {chan event $channel $event [list $self $event]}]} {
        after cancel $timer
        throw {HTTP1 GONE} "somebody closed the connection"
    }
    set what [yield]
    after cancel $timer
    catch {chan event $channel $event {}}
    return $what
}

proc http1::Read {channel} {
    try {
        return [read $channel 16384]
    } on error {message} {
        throw {HTTP1 GONE} $message
    }
}

# Returns when the client, or the system for it, has taken all.
proc http1::Send {channel bytes} {
    variable limits
    try {
        puts -nonewline $channel $bytes
        while {[set left [chan pending output $channel]] > 0} {
            set deadline [expr {[clock milliseconds] + [dict get $limits write]}]
            if {[Wait $channel writable $deadline] eq "timeout" &&
                [chan pending output $channel] >= $left} {
                break
            }
        }
    } on error {message} {
        throw {HTTP1 GONE} $message
    }
    if {$left > 0} {
        Abort $channel
        throw {HTTP1 GONE} "the client does not read"
    }
}

# Tcl forgets what it could not write when it tries to go on, and closes well then.
proc http1::Abort {channel} {
    variable abortCmd
    if {$abortCmd ne ""} {
        uplevel #0 [list {*}$abortCmd $channel]
        Wait $channel writable [expr {[clock milliseconds] + 1000}]
    }
}

# Lets the application answer.
proc http1::Perform {appCmd request} {
    variable streams
    set channel [dict get $request channel]
    try {
        set answer [uplevel #0 [list {*}$appCmd $request]]
        if {![info exists streams($channel)]} {
            Send $channel [Answer $request $answer]
        }
    } trap {HTTP1 GONE} {message options} {
        return -options $options $message
    } on error {message options} {
        set answer [Failure $message $options]
        if {[info exists streams($channel)]} {
            throw {HTTP1 GONE} "an answer ended early"
        }
        Send $channel [Answer $request $answer]
    }
    if {[info exists streams($channel)]} {
        if {$streams($channel) eq "chunked"} {
            Send $channel "0\r\n\r\n"
        }
        unset streams($channel)
    }
}

# The answer for an error: what the client did wrong, or that it was the application.
proc http1::Failure {message options} {
    lassign [dict get $options -errorcode] kind status
    if {$kind eq "HTTP"} {
        return [text "$status $message\n" $status]
    }
    Log error [dict get $options -errorinfo]
    return [text "500 the server failed\n" 500]
}

# The client may be sending still. If the connection were closed now, the system
# would reset it, and the client might never see the answer.
proc http1::Linger {channel} {
    variable limits
    catch {chan close $channel write} ;# a TLS channel cannot
    set deadline [expr {[clock milliseconds] + [dict get $limits linger]}]
    while {[clock milliseconds] < $deadline} {
        if {[Read $channel] eq ""} {
            if {[eof $channel]} {
                return
            }
            Wait $channel readable $deadline
        }
    }
}

# ---- TLS ---------------------------------------------------------------------------

# http1::secure ?option value ...? --
#
#   From now on connections speak TLS. The options are those of tls::import, such as
#   -certfile and -keyfile, and are tried here: a bad one is an error now, and not of
#   each connection. tls reads the files for each connection, so a new certificate is
#   used at once; the user that workers run as must be able to read them.
proc http1::secure {args} {
    variable tls
    package require tls
    lassign [chan pipe] reader writer
    try {
        tls::import $writer -server 1 {*}$args
    } finally {
        close $writer
        close $reader
    }
    set tls $args
}

# Turns the channel into one that speaks TLS, if that is wanted.
proc http1::StartTls {channel client} {
    variable tls
    variable limits
    if {$tls eq ""} {
        return
    }
    set deadline [expr {[clock milliseconds] + [dict get $limits handshake]}]
    try {
        tls::import $channel -server 1 -request 0 -tls1 0 -tls1.1 0 \
            -command http1::TlsEvent {*}$tls
        while {![tls::handshake $channel]} {
            if {[Wait $channel readable $deadline] eq "timeout"} {
                error "it took too long"
            }
        }
    } on error {message} {
        Log info "no TLS with [dict get $client address]: $message"
        throw {HTTP1 GONE} $message
    }
}

# Without a callback tls gives a failed handshake to the background error handler,
# too. The answer counts for client certificates only.
proc http1::TlsEvent {event args} {
    return [expr {$event eq "verify" ? [lindex $args 3] : 1}]
}
