# The manual pages, and the demonstration.

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

proc FormatPage {page format {warningsName warnings}} {
    upvar 1 $warningsName warnings
    package require doctools
    set text [string map [list @VERSION@ [Version]] [fileutil::cat -encoding utf-8 $page]]
    set converter [doctools::new converter-$format -format $format -file $page]
    try {
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
proc Doc {} {
    set directory [file join $::root build doc]
    file mkdir $directory
    return [lmap page [ManualPages] {
        set name [file join $directory [PageName $page]]
        fileutil::writeFile -encoding utf-8 $name.html [FormatPage $page html]
        fileutil::writeFile -encoding utf-8 $name [FormatPage $page nroff]
        set name
    }]
}

verb doc {} "" "formats the manual pages to build/doc" {
    puts [join [Doc] \n]
}

verb demo {} "" "shows the echo server at work" {
    Build
    exec [info nameofexecutable] [file join $::root examples demo.tcl] >@stdout 2>@stderr
}
