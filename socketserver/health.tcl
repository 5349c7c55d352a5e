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
        lassign [::socketserver::http::RequestLine $line] all method path version
        # Of the other methods only a whole request line can be told from plain text.
        if {$version ne "" || $method in $::socketserver::http::methods} {
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
    if {$method ni $::socketserver::http::methods} {
        lassign {405 "method not allowed"} code body
    } elseif {$state eq "running"} {
        lassign {200 up} code body
    } else {
        lassign [list 503 $state] code body
    }
    return [::socketserver::http::Answer $method $version $code text/plain $body\n]
}
