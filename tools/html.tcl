# The manual in HTML: the manual pages, the guides (in Markdown) and what they link to,
# as files beside each other that need nothing else. What a browser gets besides is in
# tools/html/: the frame of a page, the style, the search box.

# While it is made:
#   htmlWaiting, htmlKnown   sources of pages that are to be made, and of all
#   htmlImages               those that pages show
#   htmlCommands             command -> where it is described
#   htmlIds, htmlNumbers     of one page: anchors that are taken, and new ones for old

# {heading {source ...} ...}: what the manual consists of, in this order. A source is a path
# in the project.
proc HtmlGroups {} {
    set first {
        README.md doc/tutorial.md doc/examples.md doc/how-it-works.md doc/faq.md doc/migrating.md
    }
    set manuals [lmap page [ManualPages] {fileutil::stripPath $::root $page}]
    set others {}
    foreach pattern {doc/*.md bench/README.md *.md} {
        foreach file [lsort [glob -nocomplain -directory $::root $pattern]] {
            set source [fileutil::stripPath $::root $file]
            if {$source ni $first} {
                lappend others $source
            }
        }
    }
    return [list "Begin" $first "Manual pages" $manuals "More" $others]
}

# The file of a source: those beside the pages are files that a page links to.
proc HtmlName {source} {
    if {[file extension $source] eq ".man"} {
        return [PageName [file join $::root $source]].html
    }
    if {[file extension $source] ne ".md"} {
        return [string map {/ -} $source].html
    }
    set name [string tolower [file rootname $source]]
    return [string map {/ -} [regsub {^doc/} $name {}]].html
}

proc HtmlTitle {source} {
    set text [fileutil::cat -encoding utf-8 [file join $::root $source]]
    if {[regexp {\[manpage_begin (\S+) (\w+) } $text -> name section]} {
        return "$name\($section)"
    }
    regexp -line {^# (.*)$} $text -> title
    return $title
}

# Writes it, and returns the names of its files.
proc HtmlManual {directory} {
    package require Markdown
    package require json::write
    file mkdir $directory
    set ::htmlWaiting [concat {*}[dict values [HtmlGroups]]]
    set ::htmlKnown $::htmlWaiting
    set ::htmlImages {}
    set ::htmlCommands [HtmlCommands]
    set navigation [HtmlNavigation]
    set entries {}
    set written [list [HtmlWrite $directory index.html socketserver $navigation [HtmlContents]]]
    while {[llength $::htmlWaiting] > 0} {
        set ::htmlWaiting [lassign $::htmlWaiting source]
        lassign [HtmlPage $source] title content
        lappend written [HtmlWrite $directory [HtmlName $source] $title $navigation $content]
        if {[file extension $source] in {.man .md}} {
            lappend entries {*}[HtmlEntries $title [HtmlName $source] $content]
        }
    }
    lappend written {*}[HtmlBesides $directory $entries]
    foreach old [glob -nocomplain -tails -directory $directory *.html] {
        if {$old ni $written} {
            file delete [file join $directory $old]
        }
    }
    return $written
}

proc HtmlWrite {directory name title navigation content} {
    set here "href=\"$name\""
    set page [string map [list @TITLE@ [HtmlEscape $title] @VERSION@ [Version] \
        @NAVIGATION@ [string map [list $here "$here aria-current=\"page\""] $navigation] \
        @CONTENT@ $content] [fileutil::cat [file join $::root tools html page.html]]]
    fileutil::writeFile -encoding utf-8 [file join $directory $name] $page
    return $name
}

# Style, script, index and images.
proc HtmlBesides {directory entries} {
    foreach name {style.css search.js} {
        file copy -force [file join $::root tools html $name] [file join $directory $name]
    }
    fileutil::writeFile -encoding utf-8 [file join $directory index.js] \
        "const manualIndex = [json::write array {*}$entries];\n"
    foreach image $::htmlImages {
        file copy -force [file join $::root $image] [file join $directory [file tail $image]]
    }
    return [list style.css search.js index.js {*}[lmap image $::htmlImages {file tail $image}]]
}

proc HtmlEscape {text} {
    return [string map {& &amp; < &lt; > &gt; \" &quot;} $text]
}

proc HtmlPlain {html} {
    set text [regsub -all {</?(b|i|a|em|code|span|strong)\M[^>]*>} $html {}]
    set text [regsub -all {<[^>]*>} $text { }]
    set text [string map {&lt; < &gt; > &quot; \" &nbsp; " " &amp; &} $text]
    return [string trim [regsub -all {\s+} $text { }]]
}

# As GitHub names the anchors of headings, so that links work there as well.
proc HtmlSlug {title} {
    return [string map {" " -} [regsub -all {[^\w\- ]} [string tolower $title] {}]]
}

# Patterns here begin with what takes as little as it can, and have no alternatives: then
# all of the pattern does.

# Replaces each match by what a command makes of it and its parts.
proc Rewrite {text pattern cmd} {
    set result ""
    set at 0
    while {[set found [regexp -inline -indices -start $at -- $pattern $text]] ne {}} {
        lassign [lindex $found 0] first last
        append result [string range $text $at $first-1] \
            [{*}$cmd {*}[lmap part $found {string range $text {*}$part}]]
        set at [expr {$last + 1}]
    }
    return [append result [string range $text $at end]]
}

# ---- contents --------------------------------------------------------------------

proc HtmlNavigation {} {
    set lines {}
    foreach {heading sources} [HtmlGroups] {
        lappend lines "<h2>$heading</h2>" {*}[HtmlList $sources HtmlNoSummary]
    }
    return [join $lines \n]
}

# Links to pages, with what a command has to say of each.
proc HtmlList {sources summaryCmd} {
    set items [lmap source $sources {
        string cat "<li><a href=\"" [HtmlName $source] "\">" [HtmlEscape [HtmlTitle $source]] \
            "</a>" [{*}$summaryCmd $source] "</li>"
    }]
    return [list <ul> {*}$items </ul>]
}

proc HtmlContents {} {
    set lines [list "<h1>The manual of socketserver [Version]</h1>" \
        "<p>Servers in Tcl with worker processes, and the parts that they are made of.</p>"]
    foreach {heading sources} [HtmlGroups] {
        lappend lines "<h2>$heading</h2>" {*}[HtmlList $sources HtmlSummary]
    }
    lappend lines "<h2>Commands</h2>" "<ul class=\"commands\">"
    foreach command [lsort -dictionary [dict keys $::htmlCommands]] {
        lappend lines "<li>[HtmlCommand <code>$command</code> $command]</li>"
    }
    return [join [list {*}$lines </ul>] \n]
}

proc HtmlNoSummary {source} {}

# What a manual page says that it is.
proc HtmlSummary {source} {
    set text [fileutil::cat -encoding utf-8 [file join $::root $source]]
    if {![regexp {\[titledesc \{(.*?)\}\]} $text -> summary]} {
        return ""
    }
    return " &ndash; [HtmlEscape $summary]"
}

# command -> where it is described
proc HtmlCommands {} {
    set commands [dict create]
    foreach page [ManualPages] {
        set name [HtmlName [fileutil::stripPath $::root $page]]
        foreach {all command} [regexp -all -inline {\[call \[cmd \{?(\w+::[\w: ]+?)\}?\]} \
            [fileutil::cat -encoding utf-8 $page]] {
            if {![dict exists $commands $command]} {
                dict set commands $command $name#[string map {" " -} $command]
            }
        }
    }
    return $commands
}

proc HtmlCommand {html command} {
    if {![dict exists $::htmlCommands $command]} {
        return $html
    }
    return "<a href=\"[dict get $::htmlCommands $command]\">$html</a>"
}

# ---- pages -----------------------------------------------------------------------

# {title content}
proc HtmlPage {source} {
    set path [file join $::root $source]
    switch -- [file extension $source] {
        .man {
            return [list [HtmlTitle $source] [HtmlManualPage $source]]
        }
        .md {
            return [list [HtmlTitle $source] [HtmlGuide $source]]
        }
    }
    return [list $source "<h1>$source</h1>\n[HtmlListing $source]"]
}

# A file as it is; a directory: what is in it.
proc HtmlListing {source} {
    set path [file join $::root $source]
    if {![file isdirectory $path]} {
        return "<pre>[HtmlEscape [fileutil::cat -encoding utf-8 $path]]</pre>"
    }
    set items [lmap name [lsort [glob -tails -types f -directory $path *]] {
        string cat "<li><a href=\"" [HtmlTarget $source/$name] "\">$name</a></li>"
    }]
    return "<ul>[join $items \n]</ul>"
}

# The page of a path in the project; made if it is not yet.
proc HtmlTarget {source} {
    if {$source ni $::htmlKnown} {
        lappend ::htmlKnown $source
        lappend ::htmlWaiting $source
    }
    return [HtmlName $source]
}

proc HtmlManualPage {source} {
    set html [FormatPage [file join $::root $source] html warnings {raw 1}]
    set html [regsub {<h1.*?</h1>} $html "<h1 id=\"top\">[HtmlTitle $source]</h1>"]
    # Anchors get readable names.
    set html [HtmlNameItems [HtmlNameSections $html]]
    set html [HtmlLinkReferences $html [HtmlTitle $source]]
    return [HtmlLinkCommands $html]
}

# doctools numbers its sections.
proc HtmlNameSections {html} {
    set names {}
    set pattern {<(h[23])><a name="([^"]*?)">(.*?)</a></h[23]>}
    foreach {all level id title} [regexp -all -inline $pattern $html] {
        lappend names "\"#$id\"" "\"#[HtmlSlug [HtmlPlain $title]]\""
    }
    set html [string map $names $html]
    set html [regsub -all {<div id="[^"]*"} $html {<div}]
    return [Rewrite $html $pattern HtmlHeading]
}

proc HtmlHeading {all level id title} {
    return "<$level id=\"[HtmlSlug [HtmlPlain $title]]\">$title</$level>"
}

# The items of definition lists: named by what is bold in them, or by their first word.
proc HtmlNameItems {html} {
    set ::htmlIds {}
    foreach {all id} [regexp -all -inline { id="([^"]*)"} $html] {
        dict set ::htmlIds $id 1
    }
    set ::htmlNumbers {}
    set html [Rewrite $html {<dt>(.*?)</dt>} HtmlItem]
    return [string map $::htmlNumbers $html]
}

proc HtmlItem {all content} {
    if {![regexp {<b class="\w+?">(.*?)</b>} $content -> name]} {
        set name [lindex [split [HtmlPlain $content]] 0]
    }
    set id [regsub -all {[^\w:@.-]} [string map {" " -} [HtmlPlain $name]] {}]
    set id [expr {$id eq {} ? "item" : $id}]
    for {set number 2; set base $id} {[dict exists $::htmlIds $id]} {incr number} {
        set id $base-$number
    }
    dict set ::htmlIds $id 1
    if {[regexp {<a name="(\d+)">(.*)</a>$} $content -> number content]} {
        lappend ::htmlNumbers "\"#$number\"" "\"#$id\""
    }
    return "<dt id=\"$id\">$content</dt>"
}

# Mentions of our pages; not in the page itself.
proc HtmlLinkReferences {html self} {
    foreach page [ManualPages] {
        set source [fileutil::stripPath $::root $page]
        set title [HtmlTitle $source]
        if {$title ne $self} {
            set link "<a href=\"[HtmlName $source]\">$title</a>"
            set html [regsub -all "\\m[string map {( \\( ) \\)} $title]" $html $link]
        }
    }
    return $html
}

# Mentions of commands, but for places where they are described, or linked already.
proc HtmlLinkCommands {html} {
    set apart {(?:<dt.*?</dt>|<div class="doctools_synopsis">.*?</div>|<a .*?</a>}
    append apart {|<pre.*?</pre>|<h\d.*?</h\d>){1,1}?}
    set result ""
    set at 0
    foreach range [regexp -all -inline -indices $apart $html] {
        lassign $range first last
        append result [HtmlLinkIn [string range $html $at $first-1]] \
            [string range $html $first $last]
        set at [expr {$last + 1}]
    }
    return [append result [HtmlLinkIn [string range $html $at end]]]
}

proc HtmlLinkIn {html} {
    set html [Rewrite $html {<b class="cmd">(.*?)</b>} HtmlCommand]
    return [Rewrite $html {<code>([^<]*)</code>} HtmlCommand]
}

# ---- Markdown --------------------------------------------------------------------

proc HtmlGuide {source} {
    set text [fileutil::cat -encoding utf-8 [file join $::root $source]]
    foreach {all language} [regexp -all -inline -line {^```(\w*)} $text] {
        # The older versions of the package escape a block of code twice without this.
        Markdown::register $language {apply {{code} {return $code}}}
    }
    set html [HtmlUnshield [Markdown::convert [HtmlShield $text]]]
    set ::htmlIds {}
    set html [Rewrite $html {<(h[1-6])>(.*?)</h[1-6]>} HtmlGuideHeading]
    set directory [file dirname $source]
    set html [Rewrite $html {(href)="([^"]*)"} [list HtmlLink $directory]]
    set html [Rewrite $html {<(img) src="([^"]*)"} [list HtmlImage $directory]]
    return [HtmlLinkCommands $html]
}

# The package takes a "|" in a line for a table, and underscores in words for emphasis.
proc HtmlShield {text} {
    set fenced 0
    set lines {}
    foreach line [split $text \n] {
        if {[string match "```*" $line]} {
            set fenced [expr {!$fenced}]
        } elseif {!$fenced} {
            set line [string map [list \\| \uE000] $line]
            if {![string match "|*" $line]} {
                set line [string map [list | \uE000] $line]
            }
            set line [regsub -all {(\w)_(?=\w)} $line "\\1\uE001"]
        }
        lappend lines $line
    }
    return [join $lines \n]
}

proc HtmlUnshield {html} {
    return [string map [list \uE000 | \uE001 _] $html]
}

proc HtmlGuideHeading {all level title} {
    set id [HtmlSlug [HtmlPlain $title]]
    for {set number 1; set base $id} {[dict exists $::htmlIds $id]} {incr number} {
        set id $base-$number
    }
    dict set ::htmlIds $id 1
    return "<$level id=\"$id\">$title</$level>"
}

# Of a path, relative to a directory of the project, that path in the project.
proc HtmlResolve {directory path} {
    set full [file normalize [file join $::root $directory [string trimright $path /]]]
    if {![file exists $full]} {
        Fail "$directory links to $path, which does not exist"
    }
    return [fileutil::stripPath $::root $full]
}

proc HtmlLink {directory all attribute target} {
    if {[regexp {^(?:\w+:|#)} $target]} {
        return $all
    }
    regexp {^([^#]*)(.*)$} $target -> path anchor
    set source [HtmlResolve $directory $path]
    if {[file extension $source] eq ".svg"} {
        lappend ::htmlImages $source
        return "href=\"[file tail $source]\""
    }
    return "href=\"[HtmlTarget $source]$anchor\""
}

# Those that gnuplot has made are black on nothing.
proc HtmlImage {directory all tag target} {
    set image [HtmlResolve $directory $target]
    lappend ::htmlImages $image
    set class [expr {[file exists [file rootname [file join $::root $image]].dot] ? "" :
        " class=\"chart\""}]
    return "<img$class src=\"[file tail $image]\""
}

# ---- the index of the search box -------------------------------------------------

# JSON objects: the page, and each part of it that has a name.
proc HtmlEntries {title name content} {
    set pattern {<([hd][1-4t]) id="([^"]*?)"[^>]*?>(.*?)</[hd][1-4t]>}
    set ranges [regexp -all -inline -indices $pattern $content]
    set entries {}
    foreach {all tag id heading} $ranges {
        lappend starts [lindex $all 0]
    }
    lappend starts [string length $content]
    foreach {all tag id heading} $ranges next [lrange $starts 1 end] {
        if {$all eq {}} break
        set text [HtmlPlain [string range $content [lindex $all 1]+1 $next-1]]
        set heading [string range $content {*}$heading]
        set kind [HtmlKind [string range $content {*}$tag] $heading]
        set url [expr {$kind eq "page" ? $name : "$name#[string range $content {*}$id]"}]
        lappend entries [HtmlEntry [HtmlPlain $heading] $kind $title $url $text]
    }
    return $entries
}

proc HtmlKind {tag heading} {
    switch -regexp -- $tag$heading {
        ^h1 {return page}
        ^h {return section}
        {^dt<b class="cmd"} - {class="method"} {return command}
        {^dt<b class="option"} {return option}
        {^dt<b class="const">[A-Z]} {return error}
    }
    return term
}

proc HtmlEntry {title kind page url text} {
    set fields {}
    foreach name {title kind page url} {
        lappend fields $name [json::write string [set $name]]
    }
    return [json::write object {*}$fields text [json::write string [string range $text 0 1999]]]
}
