# The manual pages, the pictures, and the demonstration.

proc Version {} {
    set interp [interp create]
    try {
        $interp eval [list set dir $::root]
        $interp eval {source [file join $dir pkgIndex.tcl]}
        return [$interp eval {package versions unix_sockets}]
    } finally {
        interp delete $interp
    }
}

proc ManualPages {} {
    return [lsort [glob -nocomplain -directory [file join $::root man] *.man]]
}

proc FormatPage {page format {warningsName warnings} {settings {}}} {
    upvar 1 $warningsName warnings
    package require doctools
    set text [string map [list @VERSION@ [Version]] [fileutil::cat -encoding utf-8 $page]]
    set converter [doctools::new converter-$format -format $format -file $page]
    try {
        foreach {name value} $settings {
            $converter setparam $name $value
        }
        set formatted [$converter format $text]
        set warnings [$converter warnings]
    } finally {
        $converter destroy
    }
    return $formatted
}

# NAME.SECTION, as the page itself says: a package and a program may share a name.
proc PageName {page} {
    regexp {\[manpage_begin (\S+) (\w+) } [fileutil::cat -encoding utf-8 $page] -> name section
    return $name.$section
}

# Returns the nroff pages.
proc Doc {{directory {}}} {
    if {$directory eq {}} {
        set directory [file join $::root build doc]
    }
    file mkdir $directory
    return [lmap page [ManualPages] {
        set name [file join $directory [PageName $page]]
        fileutil::writeFile -encoding utf-8 $name [FormatPage $page nroff]
        set name
    }]
}

# ---- pictures --------------------------------------------------------------------

# Those in doc/ that graphviz makes of a text. The picture tells of which text it is: what
# two versions of graphviz make of one differs.

proc Drawings {} {
    return [lsort [glob -directory [file join $::root doc] *.dot]]
}

proc DrawingMark {source} {
    return [format {<!-- %s, CRC %08x -->} [file tail $source] [zlib crc32 [fileutil::cat $source]]]
}

proc IsDrawn {source} {
    set picture [file rootname $source].svg
    return [expr {[file exists $picture] &&
        [string first [DrawingMark $source] [fileutil::cat -encoding utf-8 $picture]] >= 0}]
}

# Lines and letters have the colour of the text around, light or dark.
set drawingStyle {
svg { color: #1d2126; }
@media (prefers-color-scheme: dark) { svg { color: #dfe3e8; } }
text { fill: currentColor; }
.ours > polygon, .ours > ellipse, .ours > path { stroke: #2f7fd8; stroke-width: 1.6; }
.forks > path { stroke: #2f7fd8; }
.talk > path { stroke: #8a939e; }
}

proc Draw {source} {
    set svg [exec {*}[Tool dot] -Tsvg -Gbgcolor=transparent -Gfontname=Helvetica \
        -Nfontname=Helvetica -Efontname=Helvetica -Gfontsize=13 -Nfontsize=13 -Efontsize=11 \
        -Nshape=box -Nstyle=rounded $source]
    set svg [string map {\"black\" \"currentColor\"} $svg]
    set style "<style>$::drawingStyle</style>"
    set svg [regsub {(<svg[^>]*>)} $svg "\\1\n[DrawingMark $source]\n$style"]
    fileutil::writeFile -encoding utf-8 [file rootname $source].svg $svg\n
    puts "drew [fileutil::stripPath $::root [file rootname $source]].svg"
}

verb doc {{directory {}}} "?DIRECTORY?" "makes the manual, nroff and HTML, in build/doc" {
    foreach source [Drawings] {
        if {![IsDrawn $source]} {
            Draw $source
        }
    }
    set pages [Doc $directory]
    set directory [file dirname [lindex $pages 0]]
    puts [join $pages \n]
    puts "[llength [HtmlManual $directory]] files for a browser: [file join $directory index.html]"
}

verb demo {} "" "shows the echo server at work" {
    Build
    exec [info nameofexecutable] [file join $::root examples demo.tcl] >@stdout 2>@stderr
}
