# socketserver/status.tcl --
#
#   A page that shows a pool at work, for a browser on this machine. It changes nothing.
#
#     /             the page, status.html, which asks for the rest once a second
#     /status.json  what `stats` says
#     /metrics      the same for Prometheus

oo::class create socketserver::Status {
    superclass socketserver::LineServer

    # requests  conversation -> {method path version hosts lines}, until all lines of
    #           the request are there
    variable pool page requests

    # logCmd is called with level and message, and never throws.
    constructor {poolCommand endpoint {logCmd {}}} {
        set pool $poolCommand
        set requests [dict create]
        set page [::socketserver::status::Page]
        set where [::socketserver::status::Local $endpoint]
        set options [expr {[::socketserver::listeners::IsUnix $where] ? {-replace stale} : {}}]
        next $where $options $::socketserver::status::limits $logCmd
        my Log info "status page on [::socketserver::report::Address \
            [chan configure [my listener] -sockname]]"
    }

    method ended {conversation} {
        dict unset requests $conversation
        next $conversation
    }

    # ---- private -------------------------------------------------------------

    method Admit {channel} {
        return ""
    }

    method Crowded {} {
        return [::socketserver::http::Answer GET 1.1 503 text/plain "too many connections\n"]
    }

    method Overlong {} {
        return [::socketserver::http::Answer GET 1.1 431 text/plain "too long\n"]
    }

    method Request {conversation line} {
        set line [string trimright $line \r]
        if {![dict exists $requests $conversation]} {
            lassign [::socketserver::http::RequestLine $line] all method path version
            if {$version eq ""} {
                $conversation leave "" ;# this is no HTTP
                return
            }
            dict set requests $conversation [dict create method $method path $path \
                version $version hosts {} lines 0]
        } elseif {$line eq ""} {
            $conversation leave [my Reply [dict get $requests $conversation]]
            return
        } elseif {[regexp -nocase {^host:\s*(\S*)\s*$} $line -> host]} {
            dict with requests $conversation {
                lappend hosts $host
            }
        }
        dict with requests $conversation {
            incr lines
        }
        if {$lines > $::socketserver::status::mostLines} {
            $conversation leave [my Overlong]
        } else {
            $conversation answer ""
        }
    }

    method Reply {request} {
        dict with request {
            if {![::socketserver::status::IsLocalName $hosts]} {
                set answer {421 text/plain "no such host here\n"}
            } elseif {$method ni {GET HEAD}} {
                set answer {405 text/plain "method not allowed\n"}
            } else {
                set answer [my Content [regsub {\?.*$} $path ""]]
            }
            return [::socketserver::http::Answer $method $version {*}$answer \
                $::socketserver::status::headers]
        }
    }

    # {code type text}
    method Content {path} {
        switch -- $path {
            / {
                return [list 200 "text/html; charset=utf-8" $page]
            }
            /status.json {
                return [list 200 application/json [::socketserver::report::Json [$pool stats]]\n]
            }
            /metrics {
                return [list 200 "text/plain; version=0.0.4" \
                    [::socketserver::report::Prometheus [$pool stats]]]
            }
        }
        return {404 text/plain "not found\n"}
    }
}

namespace eval socketserver::status {
    variable here [file dirname [file normalize [info script]]]
    # A browser sends many and long headers.
    variable limits {connections 32 line 16384 silence 5000}
    variable mostLines 200
    # The page loads nothing, is in no frame, and sends nothing anywhere else.
    variable headers {
        Content-Security-Policy "default-src 'none'; script-src 'unsafe-inline';\
            style-src 'unsafe-inline'; img-src data:; connect-src 'self'; base-uri 'none';\
            form-action 'none'; frame-ancestors 'none'"
        X-Content-Type-Options nosniff
        Referrer-Policy no-referrer
        Cross-Origin-Resource-Policy same-origin
    }
}

# A port alone is one of the loopback address: whoever wants others to see it says so.
proc socketserver::status::Local {endpoint} {
    return [expr {[string is digit -strict $endpoint] ? "127.0.0.1:$endpoint" : $endpoint}]
}

# A page from elsewhere in the same browser can have any name stand for this address,
# but not for a name that is an address, or this machine's own.
proc socketserver::status::IsLocalName {hosts} {
    foreach host $hosts {
        if {![regexp -nocase {^(localhost|[\d.]+|\[[\da-f:.]+\])?(:\d*)?$} $host]} {
            return 0
        }
    }
    return 1
}

proc socketserver::status::Page {} {
    variable here
    set file [open [file join $here status.html]]
    try {
        chan configure $file -encoding utf-8
        return [read $file]
    } finally {
        close $file
    }
}
