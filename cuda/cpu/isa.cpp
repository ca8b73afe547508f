// All kernels for one instruction set: compiled once per set, each into its own namespace.
#include "activate.h"
#include "adam.h"
#include "decode_backward.h"
#include "field_backward.h"
#include "frame.h"
#include "kernels.h"
#include "pixels.h"
#include "sight.h"
#include "ssim.h"
#include "walk.h"

#define SPLAT_TEXT_(x) #x
#define SPLAT_TEXT(x) SPLAT_TEXT_(x)
#define SPLAT_JOIN_(a, b) a##b
#define SPLAT_JOIN(a, b) SPLAT_JOIN_(a, b)

namespace splat {

extern const Table SPLAT_JOIN(table_, SPLAT_ISA);
const Table SPLAT_JOIN(table_, SPLAT_ISA) = {
    SPLAT_TEXT(SPLAT_ISA),
    SPLAT_ISA::W,
    [] { return static_cast<void*>(new SPLAT_ISA::Frame); },
    [](void* frame) { delete static_cast<SPLAT_ISA::Frame*>(frame); },
    [](const void* frame) { return static_cast<const SPLAT_ISA::Frame*>(frame)->bytes(); },
    [](void* frame, const Forward& f) { static_cast<SPLAT_ISA::Frame*>(frame)->forward(f); },
    [](void* frame, const Backward& b) { static_cast<SPLAT_ISA::Frame*>(frame)->backward(b); },
    [](void* frame, const Survey& s) { static_cast<SPLAT_ISA::Frame*>(frame)->survey(s); },
    SPLAT_ISA::photometric,
    SPLAT_ISA::adam,
    SPLAT_ISA::adam_aside,
    SPLAT_ISA::activate,
    SPLAT_ISA::activate_backward,
    SPLAT_ISA::tone,
    SPLAT_ISA::tone_backward,
    SPLAT_ISA::errors,
    SPLAT_ISA::walk,
    SPLAT_ISA::add,
    [] { return static_cast<void*>(new SPLAT_ISA::Decoding); },
    [](void* decoding) { delete static_cast<SPLAT_ISA::Decoding*>(decoding); },
    [](const void* decoding) { return static_cast<const SPLAT_ISA::Decoding*>(decoding)->bytes(); },
    [](void* decoding, const Anchors& a) { return static_cast<SPLAT_ISA::Decoding*>(decoding)->count(a); },
    [](void* decoding, const DecodedRows& rows) { static_cast<SPLAT_ISA::Decoding*>(decoding)->write(rows); },
    [](void* decoding, const DecodedGradients& g) { static_cast<SPLAT_ISA::Decoding*>(decoding)->backward(g); },
    SPLAT_ISA::sight,
    SPLAT_ISA::sight_rows,
    [] { return static_cast<void*>(new SPLAT_ISA::Field); },
    [](void* field) { delete static_cast<SPLAT_ISA::Field*>(field); },
    [](const void* field) { return static_cast<const SPLAT_ISA::Field*>(field)->bytes(); },
    [](void* field, const FieldPoints& points) { static_cast<SPLAT_ISA::Field*>(field)->forward(points); },
    [](void* field, const FieldGradients& g) { static_cast<SPLAT_ISA::Field*>(field)->backward(g); },
};

}  // namespace splat
