#include "tcl_support.h"

#include <cstring>

namespace uds {

namespace {

bool isByteArray(const Tcl_Obj *object) {
    return object->typePtr && std::strcmp(object->typePtr->name, "bytearray") == 0;
}

} // namespace

ObjRef::ObjRef(Tcl_Obj *object) : object_(object) {
    if (object_)
        Tcl_IncrRefCount(object_);
}

ObjRef::~ObjRef() {
    if (object_)
        Tcl_DecrRefCount(object_);
}

ObjRef &ObjRef::operator=(ObjRef other) noexcept {
    std::swap(object_, other.object_);
    return *this;
}

int fail(Tcl_Interp *interp, const Error &error) {
    std::string reason = error.reason;
    if (error.code != 0) {
        Tcl_SetErrno(error.code);
        reason = Tcl_PosixError(interp);
    }
    if (error.kind)
        Tcl_SetObjErrorCode(interp, newList({newString(error.domain), newString(error.kind),
                                             newString(error.detail)}));
    const std::string message = error.what.empty() ? reason : error.what + ": " + reason;
    Tcl_SetObjResult(interp, newString(message));
    return TCL_ERROR;
}

std::string toSystem(Tcl_Obj *object) {
    Tcl_DString buffer;
    Tcl_Size length = 0;
    const char *utf = Tcl_GetStringFromObj(object, &length);
    Tcl_UtfToExternalDString(nullptr, utf, length, &buffer);
    std::string bytes(Tcl_DStringValue(&buffer), static_cast<size_t>(Tcl_DStringLength(&buffer)));
    Tcl_DStringFree(&buffer);
    return bytes;
}

Tcl_Obj *fromSystem(const std::string &bytes) {
    Tcl_DString buffer;
    Tcl_ExternalToUtfDString(nullptr, bytes.data(), static_cast<Tcl_Size>(bytes.size()), &buffer);
    Tcl_Obj *object = Tcl_NewStringObj(Tcl_DStringValue(&buffer), Tcl_DStringLength(&buffer));
    Tcl_DStringFree(&buffer);
    return object;
}

std::string toUtf8(Tcl_Obj *object) {
    Tcl_Encoding utf8 = Tcl_GetEncoding(nullptr, "utf-8");
    Tcl_Size length = 0;
    const char *string = Tcl_GetStringFromObj(object, &length);
    Tcl_DString buffer;
    Tcl_UtfToExternalDString(utf8, string, length, &buffer);
    std::string bytes(Tcl_DStringValue(&buffer), static_cast<size_t>(Tcl_DStringLength(&buffer)));
    Tcl_DStringFree(&buffer);
    Tcl_FreeEncoding(utf8);
    return bytes;
}

Tcl_Obj *newString(const std::string &utf) {
    std::string tclsOwn = utf;
    for (size_t at = 0; (at = tclsOwn.find('\0', at)) != std::string::npos; at += 2)
        tclsOwn.replace(at, 1, "\xc0\x80"); // a NUL would end it for many
    return Tcl_NewStringObj(tclsOwn.data(), static_cast<Tcl_Size>(tclsOwn.size()));
}

Tcl_Obj *newList(std::initializer_list<Tcl_Obj *> elements) {
    return Tcl_NewListObj(static_cast<Tcl_Size>(elements.size()), elements.begin());
}

std::string text(Tcl_Obj *object) {
    Tcl_Size length = 0;
    const char *utf = Tcl_GetStringFromObj(object, &length);
    return std::string(utf, static_cast<size_t>(length));
}

const unsigned char *bytesOf(Tcl_Interp *interp, Tcl_Obj *object, Tcl_Size &size) {
    // Tcl 8.6 cuts characters to their low bytes without a word.
    const Tcl_Size characters = Tcl_GetCharLength(object);
    for (Tcl_Size i = 0; i < characters && !isByteArray(object); ++i) {
        if (Tcl_GetUniChar(object, i) <= 0xff)
            continue;
        fail(interp, ownError("DATA", "couldn't send descriptors",
                              "the data holds a character above 255: encode it first", ""));
        return nullptr;
    }
    return Tcl_GetByteArrayFromObj(object, &size);
}

bool isEmpty(Tcl_Obj *object) {
    Tcl_Size length = 0;
    Tcl_GetStringFromObj(object, &length);
    return length == 0;
}

int callBack(Tcl_Interp *interp, const ObjRef &command, std::initializer_list<Tcl_Obj *> words) {
    const ObjRef call(Tcl_DuplicateObj(command.get()));
    for (Tcl_Obj *word : words)
        Tcl_ListObjAppendElement(nullptr, call.get(), word);
    Tcl_Preserve(interp);
    const int code = Tcl_EvalObjEx(interp, call.get(), TCL_EVAL_GLOBAL | TCL_EVAL_DIRECT);
    if (code != TCL_OK)
        Tcl_BackgroundException(interp, code);
    Tcl_Release(interp);
    return code;
}

} // namespace uds
