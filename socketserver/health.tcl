# socketserver/health.tcl --
#
#   Answers balancers whether this pool should get connections: an HTTP request,
#   or any other line in the way of HAProxy's agent checks. By the parent, since
#   workers may all be busy and well.

oo::class create socketserver::Health {
    superclass socketserver::LineServer

    variable pool

    # logCmd is called with level and message, and never throws.
    constructor {poolCommand endpoint {logCmd {}}} {
        set pool $poolCommand
        set options [expr {
            [::socketserver::listeners::IsUnix $endpoint] ? {-replace stale} : {}
        }]
        next $endpoint $options $::socketserver::health::limits $logCmd
    }

    # ---- private -------------------------------------------------------------

    method Admit {channel} {
        return ""
    }

    method Crowded {} {
        return ""
    }

    method Overlong {} {
        return ""
    }

    method Request {conversation line} {
        set state [$pool state]
        set words [regexp -inline {^([A-Z]+) \S+(?: HTTP/(1\.\d))?\r?$} $line]
        lassign $words all method version
        # Of the other methods only a whole request line can be told from plain text.
        if {$version ne "" || $method in {GET HEAD OPTIONS}} {
            $conversation leave [::socketserver::health::Http $method $version $state]
        } else {
            $conversation leave [::socketserver::health::Agent $state]\n
        }
    }
}

namespace eval socketserver::health {
    variable limits {connections 64 line 4096 silence 5000}
}

# What HAProxy's agent check understands. "drain" and "maint" stay until "ready".
proc socketserver::health::Agent {state} {
    switch -- $state {
        running { return "up ready" }
        draining - drained - stopping { return drain }
    }
    return maint
}

proc socketserver::health::Http {method version state} {
    set allow "Allow: GET, HEAD, OPTIONS\r\n"
    if {$method ni {GET HEAD OPTIONS}} {
        set status "405 Method Not Allowed"
        set body "method not allowed\n"
    } elseif {$state eq "running"} {
        set status "200 OK"
        set body "up\n"
    } else {
        set status "503 Service Unavailable"
        set body "$state\n"
    }
    set head "HTTP/[expr {$version eq "" ? "1.0" : $version}] $status\r\n"
    append head "Date: [clock format [clock seconds] -gmt 1 -locale C \
        -format {%a, %d %b %Y %H:%M:%S GMT}]\r\n"
    append head "Content-Type: text/plain\r\nContent-Length: [string length $body]\r\n"
    append head "Cache-Control: no-store\r\n"
    if {$method ni {GET HEAD}} {
        append head $allow
    }
    return "${head}Connection: close\r\n\r\n[expr {$method eq "HEAD" ? "" : $body}]"
}
