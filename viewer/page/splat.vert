#version 300 es
// A quad for each Gaussian, in the order of the sort. Instances hold many quads: with four vertices
// each, most of a graphics card's lanes would idle.
precision highp float;
precision highp int;
precision highp usampler2D;

uniform usampler2D order, outlines, paints;
uniform int count, quads;  // Gaussians in the order, quads an instance
uniform vec2 size;

out vec2 offset;            // from the mean, in standard deviations
flat out vec4 color;        // and opacity

void main() {
  gl_Position = vec4(2, 2, 0, 1);  // outside: no area
  int slot = gl_InstanceID * quads + gl_VertexID / 4, row = textureSize(order, 0).x;
  if (slot >= count) return;
  int index = int(texelFetch(order, ivec2(slot % row, slot / row), 0).x);
  ivec2 at = ivec2(index % row, index / row);
  uvec4 paint = texelFetch(paints, at, 0);
  float opacity = uintBitsToFloat(paint.w);
  if (opacity == 0.0) return;
  vec4 outline = uintBitsToFloat(texelFetch(outlines, at, 0));

  // The covariance is L L^T with L lower triangular: L takes a square around the circle where the
  // Gaussian ends to a parallelogram around its ellipse, which has the area of any other that fits.
  float reach = min(3.33, sqrt(2.0 * log(255.0 * opacity)));
  offset = reach * (vec2(gl_VertexID & 1, gl_VertexID >> 1 & 1) * 2.0 - 1.0);
  vec2 pixel = outline.xy + vec2(outline.z * offset.x,
                                 outline.w * offset.x + uintBitsToFloat(paint.x) * offset.y);
  gl_Position = vec4(2.0 * pixel / size - 1.0, 0, 1);
  gl_Position.y = -gl_Position.y;  // rows of pictures go down
  color = vec4(unpackHalf2x16(paint.y), unpackHalf2x16(paint.z).x, opacity);
}
