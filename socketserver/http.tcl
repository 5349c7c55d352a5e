# socketserver/http.tcl --
#
#   Answers in HTTP, as health.tcl and status.tcl give them.

namespace eval socketserver::http {
    variable reasons {
        200 OK
        404 "Not Found"
        405 "Method Not Allowed"
        421 "Misdirected Request"
        431 "Request Header Fields Too Large"
        503 "Service Unavailable"
    }
    # The methods that change nothing.
    variable methods {GET HEAD OPTIONS}
}

# {all method path version} of a request line; empty when it is none. Without a version
# it is one of HTTP 0.9 or no HTTP at all.
proc socketserver::http::RequestLine {line} {
    return [regexp -inline {^([A-Z]+) (\S+)(?: HTTP/(1\.\d))?\r?$} $line]
}

# A whole answer, after which the connection is closed. headers: name value ...
proc socketserver::http::Answer {method version code type body {headers {}}} {
    variable reasons
    variable methods
    set length [string length [encoding convertto utf-8 $body]]
    set protocol HTTP/[expr {$version eq "" ? "1.0" : $version}]
    set date [clock format [clock seconds] -gmt 1 -locale C -format {%a, %d %b %Y %H:%M:%S GMT}]
    set head [list "$protocol $code [dict get $reasons $code]" "Date: $date" \
        "Content-Type: $type" "Content-Length: $length" "Cache-Control: no-store"]
    if {$method ni {GET HEAD}} {
        lappend head "Allow: [join $methods {, }]"
    }
    foreach {name value} $headers {
        lappend head "$name: $value"
    }
    lappend head "Connection: close" "" [expr {$method eq "HEAD" ? "" : $body}]
    return [join $head \r\n]
}
